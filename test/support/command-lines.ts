/** Command lines of the unmodified clients as people type them, words apart by spaces, and what they print. */
import { afterAll } from 'vitest';
import { type Api, signIn } from './api.ts';
import { type CommandResult, cinder, glance, nova, openstack } from './clients.ts';
import { makeStateDir, removeStateDir, type ServiceUnderTest, startServiceUnderTest } from './service.ts';

export interface CommandLines {
  /** Must succeed; what it prints as JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: a foreign client's answer; the assertions look into it
  json(line: string): Promise<any>;
  /** Must succeed. */
  succeed(line: string): Promise<string>;
  /** Must fail; what it says. */
  refused(line: string): Promise<string>;
  /** Must succeed; the rows of the table it prints, by column. Of a `Property | Value` table: one row. */
  cinder(line: string): Promise<Record<string, string>[]>;
  glance(line: string): Promise<Record<string, string>[]>;
  nova(line: string): Promise<Record<string, string>[]>;
}

/** The real service for the tests of one file, and command lines on it. It goes when they are over. */
export async function cloudForCommands(): Promise<{ readonly on: CommandLines; readonly api: Api; readonly stateDir: string }> {
  const stateDir = await makeStateDir();
  const service = await startServiceUnderTest(stateDir);
  afterAll(async () => {
    await service.stop();
    await removeStateDir(stateDir);
  });
  return { on: commandLines(service), api: await signIn(service), stateDir };
}

function commandLines(service: ServiceUnderTest): CommandLines {
  const told = (line: string, { code, stdout, stderr }: CommandResult): string =>
    `${line}: exit code ${code}\n${stderr}${stdout}\n${service.log().slice(-3000)}`;
  const must = async (line: string, running: Promise<CommandResult>): Promise<string> => {
    const result = await running;
    if (result.code !== 0) throw new Error(told(line, result));
    return result.stdout;
  };
  return {
    async json(line) {
      const text = await must(line, openstack(service, ...wordsOf(line), '-f', 'json'));
      return JSON.parse(text.slice(text.search(/[[{]/)));
    },
    succeed: (line) => must(line, openstack(service, ...wordsOf(line))),
    async refused(line) {
      const result = await openstack(service, ...wordsOf(line));
      if (result.code === 0) throw new Error(told(line, result));
      return result.stderr;
    },
    cinder: async (line) => tableOf(await must(line, cinder(service, ...wordsOf(line)))),
    glance: async (line) => tableOf(await must(line, glance(service, ...wordsOf(line)))),
    nova: async (line) => tableOf(await must(line, nova(service, ...wordsOf(line)))),
  };
}

const wordsOf = (line: string): string[] => line.split(' ').filter((word) => word !== '');

/** The first table in a text. */
function tableOf(text: string): Record<string, string>[] {
  const rows = text
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
  const [heads = [], ...body] = rows;
  if (heads.join() === 'Property,Value') return [Object.fromEntries(body.map(([name = '', value = '']) => [name, value]))];
  return body.map((cells) => Object.fromEntries(heads.map((head, at) => [head, cells[at] ?? ''])));
}
