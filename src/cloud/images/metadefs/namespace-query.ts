export const namespaceSortKeys = ['namespace', 'created_at', 'updated_at'] as const;

export interface NamespaceQuery {
  readonly visibility: 'public' | 'private' | undefined;
  /** Meant for one of these; undefined: for whatever. */
  readonly resourceTypes: readonly string[] | undefined;
  readonly sortKey: (typeof namespaceSortKeys)[number];
  readonly direction: 'asc' | 'desc';
  readonly limit: number;
  /** The name of the last namespace that the caller has seen. */
  readonly marker: string | undefined;
}
