/**
 * The agent in a guest (`qemu-ga`), as much of it as Stillpoint needs.
 *
 * QEMU gives the agent's channel to one client at a time and lets others wait without a word, so callers in this process take turns. A conversation
 * begins with its first command; after a time-out, or an answer that is none, the next command begins a new one, which throws late answers away. The
 * agent does one thing after the other: who answers has ended everything that it was asked before.
 *
 * While file systems are frozen it answers only ping, info, the state of the freeze and the thaw.
 */
import { createTurns } from '../../lib/turns.ts';
import { type GuestAgentChannel, openGuestAgentChannel } from './guest-agent-channel.ts';
import { GuestAgentError } from './guest-agent-error.ts';
import { bytesIn, countIn, flagIn, garbled, listIn, nameIn, optional, recordIn } from './guest-agent-replies.ts';

export interface GuestFileSystem {
  /** `vda`, `dm-0`. */
  readonly device: string;
  readonly mountpoint: string;
  /** `ext4`. */
  readonly kind: string;
  readonly usedBytes: number | undefined;
  readonly totalBytes: number | undefined;
}

export interface GuestCommand {
  readonly path: string;
  readonly args?: readonly string[];
  /** What the program reads on its standard input, at most 1 MiB. */
  readonly input?: Uint8Array;
}

export type GuestCommandState =
  | { readonly hasEnded: false }
  | {
      readonly hasEnded: true;
      /** Undefined when a signal ended it. */
      readonly exitCode: number | undefined;
      readonly stdout: Buffer;
      readonly stderr: Buffer;
      /** The agent kept a part of the output only. */
      readonly isTruncated: boolean;
    };

/** Every call may reject with a `GuestAgentError`. */
export interface GuestAgent {
  ping(): Promise<void>;
  info(): Promise<{ version: string; commands: ReadonlyMap<string, { enabled: boolean }> }>;
  /**
   * Freezes what can be frozen, after the guest's hooks ran; resolves with the number of file systems. `refused` has the hook's or the kernel's words.
   * After *any* error the guest may be frozen, or may become so while its hooks still run: thaw (`withFrozenGuest` does).
   */
  freeze(timeoutMs?: number): Promise<number>;
  /** Resolves with how many file systems this call thawed. */
  thaw(): Promise<number>;
  freezeStatus(): Promise<'thawed' | 'frozen'>;
  fileSystems(): Promise<GuestFileSystem[]>;
  /** Starts a program; resolves with the process id in the guest. */
  exec(command: GuestCommand): Promise<number>;
  /** Asking for an ended one forgets it. Output of more than about 3 MiB is `garbled`. */
  execStatus(processId: number): Promise<GuestCommandState>;
  setTime(time: Date): Promise<void>;
}

export interface GuestAgentLimits {
  /** For connecting and getting in step. A guest without an agent, or with one that is stopped, costs this much. */
  readonly syncMs: number;
  readonly commandMs: number;
  readonly freezeMs: number;
  readonly thawMs: number;
}

const defaultLimits: GuestAgentLimits = { syncMs: 5_000, commandMs: 10_000, freezeMs: 60_000, thawMs: 30_000 };
const inputBytesMax = 2 ** 20;

const turns = createTurns<string>();

/** Runs `work` with the agent behind this socket, alone. The connection ends with it. */
export function withGuestAgent<T>(
  socketPath: string,
  work: (agent: GuestAgent) => Promise<T>,
  limits: Partial<GuestAgentLimits> = {},
): Promise<T> {
  return turns(socketPath, async () => {
    const conversation = createConversation(socketPath, { ...defaultLimits, ...limits });
    try {
      return await work(agentOf(conversation));
    } finally {
      conversation.close();
    }
  });
}

interface Conversation {
  readonly limits: GuestAgentLimits;
  ask(command: string, args?: object, timeoutMs?: number): Promise<unknown>;
  close(): void;
}

function createConversation(socketPath: string, limits: GuestAgentLimits): Conversation {
  const oneByOne = createTurns<'command'>();
  let channel: GuestAgentChannel | undefined;
  let isOver = false;
  const close = (): void => {
    channel?.close();
    channel = undefined;
  };
  const ask = async (command: string, args?: object, timeoutMs = limits.commandMs): Promise<unknown> => {
    if (isOver) throw new GuestAgentError('not-connected', 'the conversation with the guest agent is over');
    channel ??= await openGuestAgentChannel(socketPath, limits.syncMs);
    try {
      return await channel.ask(command, args, timeoutMs);
    } catch (error) {
      if (!(error instanceof GuestAgentError && error.kind === 'refused')) close();
      throw error;
    }
  };
  return {
    limits,
    ask: (...question) => oneByOne('command', () => ask(...question)),
    close() {
      isOver = true;
      close();
    },
  };
}

function agentOf({ ask, limits }: Conversation): GuestAgent {
  return {
    async ping() {
      recordIn(await ask('guest-ping'));
    },
    async info() {
      const { version, supported_commands: supported } = recordIn(await ask('guest-info'));
      const commands = listIn(supported, recordIn).map(({ name, enabled }) => [nameIn(name), { enabled: flagIn(enabled) }] as const);
      return { version: nameIn(version), commands: new Map(commands) };
    },
    freeze: async (timeoutMs = limits.freezeMs) => countIn(await ask('guest-fsfreeze-freeze', undefined, timeoutMs)),
    thaw: async () => countIn(await ask('guest-fsfreeze-thaw', undefined, limits.thawMs)),
    async freezeStatus() {
      const status = await ask('guest-fsfreeze-status');
      if (status !== 'thawed' && status !== 'frozen') throw garbled('a state of the freeze that there is not');
      return status;
    },
    fileSystems: async () => listIn(await ask('guest-get-fsinfo'), fileSystemIn),
    async exec({ path, args = [], input }) {
      if (input !== undefined && input.length > inputBytesMax) throw new RangeError('the input of a program in a guest ends at 1 MiB');
      const inputData = input === undefined ? undefined : Buffer.from(input).toString('base64');
      const { pid } = recordIn(await ask('guest-exec', { path, arg: args, 'input-data': inputData, 'capture-output': true }));
      return countIn(pid);
    },
    execStatus: async (processId) => commandStateIn(await ask('guest-exec-status', { pid: processId })),
    async setTime(time) {
      recordIn(await ask('guest-set-time', { time: time.getTime() * 1_000_000 }));
    },
  };
}

function fileSystemIn(value: unknown): GuestFileSystem {
  const fields = recordIn(value);
  return {
    device: nameIn(fields.name),
    mountpoint: nameIn(fields.mountpoint),
    kind: nameIn(fields.type),
    usedBytes: optional(fields['used-bytes'], countIn),
    totalBytes: optional(fields['total-bytes'], countIn),
  };
}

function commandStateIn(value: unknown): GuestCommandState {
  const fields = recordIn(value);
  if (!flagIn(fields.exited)) return { hasEnded: false };
  return {
    hasEnded: true,
    exitCode: optional(fields.exitcode, countIn),
    stdout: bytesIn(fields['out-data']),
    stderr: bytesIn(fields['err-data']),
    isTruncated: [fields['out-truncated'], fields['err-truncated']].some((flag) => optional(flag, flagIn) === true),
  };
}
