/** How much the service says, in the words of Block Storage. There is one process, so there is one level. */

import { badRequest } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';

/** The name of everything that logs here. */
const loggerName = 'stillpoint';

const levels = { CRITICAL: 'fatal', ERROR: 'error', WARNING: 'warn', INFO: 'info', DEBUG: 'debug' } as const;
type LevelName = keyof typeof levels;

export function levelsOf(log: Pick<Log, 'level'>, prefix: string): Readonly<Record<string, string>> {
  if (!loggerName.startsWith(prefix)) return {};
  const known = Object.entries(levels).find(([, level]) => level === log.level)?.[0];
  return { [loggerName]: known ?? (log.level === 'trace' ? 'DEBUG' : 'CRITICAL') };
}

/** 400 for a level that there is not; a prefix that is no beginning of our name changes nothing. */
export function setLevel(log: Pick<Log, 'level'>, prefix: string, level: string): void {
  const name = level.toUpperCase();
  if (!isLevel(name)) throw badRequest(`Invalid input received: Invalid log level ${level}`);
  if (loggerName.startsWith(prefix)) log.level = levels[name];
}

const isLevel = (name: string): name is LevelName => Object.hasOwn(levels, name);
