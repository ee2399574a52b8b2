import type { Log } from '../../src/lib/log.ts';

export interface NotedEntry {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly fields: object;
  readonly message: string;
}

/** A log that keeps what it is told. */
export function notingLog(): Log & { readonly entries: NotedEntry[] } {
  const entries: NotedEntry[] = [];
  const at =
    (level: NotedEntry['level']) =>
    (fields: object, message: string): void => {
      entries.push({ level, fields, message });
    };
  return { entries, debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}
