import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type GuestAgentLimits, withGuestAgent } from './guest-agent.ts';
import { GuestAgentError, guestWords } from './guest-agent-error.ts';

interface Question {
  readonly execute: string;
  readonly arguments: { readonly id: number };
}

interface Line {
  /** Sends bytes as they are. */
  send(bytes: string | Buffer): void;
  /** Answers the agent's way; to `guest-sync-delimited` with the delimiter. */
  answer(value: unknown): void;
  readonly socket: Socket;
}

type Script = (question: Question, line: Line, connection: number) => void;

const quick: Partial<GuestAgentLimits> = { syncMs: 400, commandMs: 400, thawMs: 400 };
const delimiter = Buffer.of(0xff);

let folder: string;
let socketPath: string;
let servers: Server[];
let sockets: Set<Socket>;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'agent-'));
  socketPath = join(folder, 's');
  servers = [];
  sockets = new Set();
});
afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  for (const server of servers) server.close();
  await rm(folder, { recursive: true, force: true });
});

/** An agent that keeps in step by itself unless told otherwise, and otherwise does what the script says. It notes what it was asked. */
async function fakeAgent(script: Script, { sync }: { sync?: Script } = {}): Promise<{ asked: string[] }> {
  const asked: string[] = [];
  let connections = 0;
  const server = createServer((socket) => {
    const connection = ++connections;
    sockets.add(socket);
    socket.on('error', () => {});
    let rest = '';
    socket.on('data', (chunk) => {
      const lines = (rest + chunk.toString('latin1')).split('\n');
      rest = lines.pop() ?? '';
      for (const text of lines) {
        const question = JSON.parse(text.replaceAll('\xff', '')) as Question;
        asked.push(question.execute);
        const isSync = question.execute === 'guest-sync-delimited';
        const send = (bytes: string | Buffer): void => void socket.write(bytes);
        const answer = (value: unknown): void => {
          if (isSync) send(delimiter);
          send(`${JSON.stringify({ return: value })}\n`);
        };
        if (!isSync) script(question, { send, answer, socket }, connection);
        else if (sync === undefined) answer(question.arguments.id);
        else sync(question, { send, answer, socket }, connection);
      }
    });
  });
  servers.push(server.listen(socketPath));
  return { asked };
}

const ping = (): Promise<void> => withGuestAgent(socketPath, (agent) => agent.ping(), quick);
const failing = async (work: Promise<unknown>): Promise<GuestAgentError> => {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(GuestAgentError);
  return error as GuestAgentError;
};

describe('a conversation with a guest agent', () => {
  it('gets in step once, then asks one thing after the other', async () => {
    const { asked } = await fakeAgent(({ execute }, { answer }) => answer(execute === 'guest-ping' ? {} : 'thawed'));
    const status = await withGuestAgent(
      socketPath,
      async (agent) => (await Promise.all([agent.ping(), agent.freezeStatus(), agent.ping()]))[1],
      quick,
    );
    expect(status).toBe('thawed');
    expect(asked).toEqual(['guest-sync-delimited', 'guest-ping', 'guest-fsfreeze-status', 'guest-ping']);
  });

  it('throws away what was said before it, also answers to others and pieces of them', async () => {
    const sync: Script = ({ arguments: { id } }, { send, answer }) => {
      send('half an answer"}}}]\n{"return": {"pid": 1}}\n');
      send(
        Buffer.concat([delimiter, Buffer.from(`{"return": ${id + 1}}\n`), delimiter, Buffer.from('\n'), Buffer.from([0xff, 0xff, 0x80])]),
      );
      send('no JSON\n');
      answer(id);
    };
    await fakeAgent((_, { answer }) => answer({}), { sync });
    await ping();
  });

  it('takes an answer that comes in many pieces, with damaged UTF-8', async () => {
    const bytes = Buffer.concat([
      Buffer.from('{"return": {"version": "7\\u00002'),
      Buffer.of(0xc3),
      Buffer.from('","supported_commands":[]}}\n'),
    ]);
    const inPieces = async (send: Line['send']): Promise<void> => {
      for (const byte of bytes) {
        send(Buffer.of(byte));
        await nextTurn();
      }
    };
    await fakeAgent((_, { send }) => void inPieces(send));
    expect((await withGuestAgent(socketPath, (agent) => agent.info(), quick)).version).toBe('7�2�');
  });

  it('lets callers of this process take turns, and none keeps the others from theirs by failing', async () => {
    let [inside, most] = [0, 0];
    await fakeAgent((_, { answer }) => answer({}));
    const visit = (fails: boolean) =>
      withGuestAgent(
        socketPath,
        async (agent) => {
          most = Math.max(most, ++inside);
          await agent.ping();
          inside -= 1;
          if (fails) throw new Error('on purpose');
        },
        quick,
      );
    const results = await Promise.allSettled([visit(false), visit(true), visit(false)]);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(most).toBe(1);
  });

  it('is of no use after its work has ended', async () => {
    await fakeAgent((_, { answer }) => answer({}));
    const kept = await withGuestAgent(socketPath, async (agent) => ({ agent }), quick);
    expect((await failing(kept.agent.ping())).kind).toBe('not-connected');
  });
});

describe('an agent that does not play along', () => {
  it('that is not there', async () => {
    expect((await failing(ping())).kind).toBe('not-connected');
  });

  it('that says nothing', async () => {
    await fakeAgent(() => {}, { sync: () => {} });
    expect(await failing(ping())).toMatchObject({
      kind: 'timed-out',
      message: expect.stringContaining('guest-sync-delimited within 400 ms'),
    });
  });

  it('that answers too late is got in step with again, and its late answer is nobody elses', async () => {
    const { asked } = await fakeAgent(
      ({ execute }, { answer }) => {
        if (execute === 'guest-ping') answer({});
      },
      {
        // A guest's port knows no connections: what was owed to the first one comes on the second.
        sync: ({ arguments: { id } }, { send, answer }, connection) => {
          if (connection === 2) send('{"return": "frozen"}\n');
          answer(id);
        },
      },
    );
    const kinds = await withGuestAgent(
      socketPath,
      async (agent) => {
        const { kind } = await failing(agent.freezeStatus());
        await agent.ping();
        return kind;
      },
      quick,
    );
    expect(kinds).toBe('timed-out');
    expect(asked).toEqual(['guest-sync-delimited', 'guest-fsfreeze-status', 'guest-sync-delimited', 'guest-ping']);
  });

  it('that closes in the middle of an answer', async () => {
    await fakeAgent((_, { socket }) => socket.end('{"return": {'));
    expect((await failing(ping())).kind).toBe('not-connected');
  });

  it('that refuses says why, and goes on', async () => {
    await fakeAgent(({ execute }, { send, answer }) => {
      if (execute === 'guest-ping') answer({});
      else send(`${JSON.stringify({ error: { class: 'GenericError', desc: '\u001b[2J hook \u202efailed\n\nwith 7' } })}\n`);
    });
    const { asked } = { asked: [] as string[] };
    await withGuestAgent(
      socketPath,
      async (agent) => {
        const error = await failing(agent.freeze());
        asked.push(error.kind, error.message);
        await agent.ping();
      },
      quick,
    );
    expect(asked).toEqual(['refused', '[2J hook failed with 7']);
  });

  it.each<[string, string | Buffer]>([
    ['is endless', Buffer.alloc(5 * 2 ** 20, '[1, ')],
    ['is endless text', `{"return": "${'x'.repeat(5 * 2 ** 20)}"}\n`],
    ['is nested deeply', `${'['.repeat(2 ** 20)}\n`],
    ['hides its depth behind a string', `{"return": "]]]]\\"]]]]", "x": ${'[{"a":'.repeat(30)}1${'}]'.repeat(30)}}\n`],
    ['is no JSON', 'Segmentation fault\n'],
    ['is empty', '\n\n\n'],
    ['is a list', '[]\n'],
    ['is nothing', '{}\n'],
    ['inherits its result', '{"__proto__": {"return": {}}}\n'],
    ['has another shape', '{"return": []}\n'],
  ])('whose answer %s', async (_name, bytes) => {
    await fakeAgent((_, { send }) => send(bytes));
    expect((await failing(ping())).kind).toBe('garbled');
  });

  it('that never stops talking before it gets in step', async () => {
    const sync: Script = (_, { socket }) => {
      const flood = Buffer.alloc(2 ** 20, 'x');
      const go = (): void => {
        while (!socket.destroyed && socket.write(flood));
      };
      socket.on('drain', go);
      go();
    };
    await fakeAgent(() => {}, { sync });
    const limits = { ...quick, syncMs: 15_000 };
    expect((await failing(withGuestAgent(socketPath, (agent) => agent.ping(), limits))).kind).toBe('garbled');
  });

  it('that sends delimiter after delimiter', async () => {
    await fakeAgent(() => {}, { sync: (_, { send }) => send(Buffer.alloc(2 ** 20, Buffer.from([0xff, 0x0a]))) });
    expect((await failing(ping())).kind).toBe('garbled');
  });

  it.each<[string, unknown]>([
    ['a negative number', -1],
    ['a fraction', 1.5],
    ['a number as text', '3'],
    ['a number that cannot be held', 1e300],
    ['nothing', null],
  ])('that says it froze %s', async (_name, value) => {
    await fakeAgent((_, { answer }) => answer(value));
    expect((await failing(withGuestAgent(socketPath, (agent) => agent.freeze(), quick))).kind).toBe('garbled');
  });

  it.each<[string, unknown]>([
    ['more file systems than there can be', Array.from({ length: 2000 }, () => ({ name: 'vda', mountpoint: '/', type: 'ext4' }))],
    ['a name that is a number', [{ name: 1, mountpoint: '/', type: 'ext4' }]],
    ['a name without end', [{ name: 'x'.repeat(5000), mountpoint: '/', type: 'ext4' }]],
  ])('that names %s', async (_name, value) => {
    await fakeAgent((_, { answer }) => answer(value));
    expect((await failing(withGuestAgent(socketPath, (agent) => agent.fileSystems(), quick))).kind).toBe('garbled');
  });
});

it('words of a guest are one line of bounded length', () => {
  expect(guestWords(' a\u0000b\u2028c\u200fd\r\ne ')).toBe('a b c d e');
  expect(guestWords('😀'.repeat(600)).length).toBeLessThanOrEqual(501);
});
