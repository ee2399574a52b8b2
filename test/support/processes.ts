import { readdir, readFile } from 'node:fs/promises';

export interface Process {
  readonly id: number;
  readonly parentId: number;
  readonly commandLine: string;
}

/** What runs on this machine. Tests end only what is below their own service or names their own folder. */
export async function processes(): Promise<Process[]> {
  const ids = (await readdir('/proc')).filter((entry) => /^\d+$/.test(entry));
  const read = (id: string, file: string) => readFile(`/proc/${id}/${file}`, 'latin1').catch(() => '');
  return await Promise.all(
    ids.map(async (id) => ({
      id: Number(id),
      parentId: Number(/\) \S (\d+)/.exec(await read(id, 'stat'))?.[1]),
      commandLine: await read(id, 'cmdline'),
    })),
  );
}

/** SIGKILL. False: it ended by itself since it was found. */
export function endProcess(id: number): boolean {
  try {
    process.kill(id, 'SIGKILL');
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}
