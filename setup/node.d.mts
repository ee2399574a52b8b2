/** What TypeScript needs to know of `node.mjs`. */
export const serviceOptions: readonly string[];
export const serviceEnvironment: Readonly<Record<string, string>>;
