/**
 * Machines: one QEMU process each, which outlives the service and is adopted by the next one.
 *
 * A machine has no disk files. Each of its disks is an NBD client of the server of that disk (`engine/volumes`), so everything that is done to a disk
 * while it is served (snapshots, merges, holding writes back, growing) is the same whether a machine or anybody else is connected
 * (docs/decisions/0022).
 */

/** A disk as the machine finds it. Plain data. */
export interface MachineDisk {
  /** Of the volume. The guest sees its first 20 characters as the serial number. */
  readonly id: string;
  /** `vda` to `vdz`. It is the name of the slot too: a guest that numbers disks by slot agrees. */
  readonly device: string;
  /** Where the server of the disk listens. */
  readonly socketPath: string;
  readonly exportName: string;
  readonly readOnly: boolean;
  /** From 0, the first to boot from; null: never. */
  readonly bootIndex: number | null;
}

/** A kernel that is started without a boot loader. Absolute paths of files that only the service can write. */
export interface DirectKernel {
  readonly kernelPath: string;
  readonly initrdPath: string | null;
  readonly commandLine: string;
}

/** `user`: QEMU's own network, from which the guest reaches nobody unless `restricted` is false; forwards listen on loopback. */
export type MachineNetwork =
  | { readonly kind: 'none' }
  | {
      readonly kind: 'user';
      readonly restricted: boolean;
      readonly forwards: readonly { readonly hostPort: number; readonly guestPort: number }[];
    };

export interface MachineSpec {
  /** Chosen by the caller, anew for each start: a machine that runs under it already is this one. */
  readonly id: string;
  /** The guest's own UUID, which stays the same over its starts. */
  readonly uuid: string;
  readonly memoryMib: number;
  readonly vcpus: number;
  readonly disks: readonly MachineDisk[];
  /** An ISO file. */
  readonly configDrivePath: string | null;
  readonly kernel: DirectKernel | null;
  /** With a channel for the guest agent. */
  readonly hasAgent: boolean;
  readonly network: MachineNetwork;
  /** Gets what the guest says on its first serial port, a few MiB at most. Survives the machine. */
  readonly consolePath: string;
}

/** A machine that was started: plain data, with which any later process finds it again. */
export interface Machine {
  readonly id: string;
  readonly processId: number;
}

export type MachinePower =
  | 'running'
  /** By us. */
  | 'paused'
  /** By QEMU, because a disk could not be written: it goes on with `resume` once it can. */
  | 'io-error'
  /** The guest turned itself off, or crashed: the process is still there, and nothing runs in it. */
  | 'shut-down'
  /** The process has ended. */
  | 'gone';

export interface MachineState {
  readonly power: MachinePower;
  /** Ids of the disks that the machine really has. */
  readonly diskIds: readonly string[];
}

/** What a machine did by itself. `stopped` comes once, whatever the way to its end. */
export type MachineEvent =
  | { readonly kind: 'stopped'; readonly reason: string }
  /** A disk answered with an error, or has no space left; the machine waits. */
  | { readonly kind: 'io-error'; readonly diskId: string | undefined; readonly isFull: boolean }
  /** The guest restarted. */
  | { readonly kind: 'reset' };

/** A machine that was found on this host. */
export interface FoundMachine {
  /** Of its folder; the same for the same id. */
  readonly name: string;
  /** Undefined: it has ended, and only its folder is left. */
  readonly machine: Machine | undefined;
}

export interface Hypervisor {
  /** Starts it, and returns once its processors run. A failed start leaves no process. Repeatable with the same id. */
  start(spec: MachineSpec): Promise<Machine>;
  /** A machine that outlived the service, or one that `start` returned. Events come from now on, for as long as this process lives. `failed`: it hangs; events come once it does not. */
  watch(machine: Machine, listener: (event: MachineEvent) => void): Promise<MachineState>;
  inspect(machine: Machine): Promise<MachineState>;
  pause(machine: Machine): Promise<void>;
  resume(machine: Machine): Promise<void>;
  /** Asks the guest to turn itself off. False: it did not within the time. */
  shutDown(machine: Machine, timeoutMs: number): Promise<boolean>;
  /** As the button does. */
  reset(machine: Machine): Promise<void>;
  /** Ends the process. What the guest had written to its disks is with their servers; what it kept in memory is lost. One that is gone is no error. */
  end(machine: Machine): Promise<void>;
  /** Plugs a disk in; one that is there already under its id stays. */
  plug(machine: Machine, disk: MachineDisk): Promise<void>;
  /** Asks the guest to let go of a disk, and unplugs it. `busy`: it did not within the time, and still has the disk. One that is not there is no error. */
  unplug(machine: Machine, diskId: string, timeoutMs: number): Promise<void>;
  /** The server of the disk has grown: so does the disk of the guest. */
  growDisk(machine: Machine, diskId: string, sizeBytes: number): Promise<void>;
  /** What this host shows, whatever anybody remembers: processes, and folders of machines that have ended. */
  listMachines(): Promise<readonly FoundMachine[]>;
  /** Ends what `listMachines` found under a name, and removes its folder. Not while one of that id is being started. */
  endFound(name: string): Promise<void>;
  /** Where the channel to the agent in the guest listens, if the machine has one. One client at a time. */
  agentPath(machine: Machine): string;
  /** Where the screen is shown (VNC, without a password: the folder is closed to others). */
  screenPath(machine: Machine): string;
  /** The end of what the guest said on its console. */
  readConsole(consolePath: string, bytesMax: number): Promise<string>;
  /** Lets go of every machine, which all run on. */
  stop(): Promise<void>;
}

export type MachineErrorKind =
  /** The process has ended. */
  | 'gone'
  /** The guest does not cooperate. */
  | 'busy'
  /** QEMU said no, or did not answer. */
  | 'failed';

export class MachineError extends Error {
  readonly kind: MachineErrorKind;

  constructor(kind: MachineErrorKind, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'MachineError';
    this.kind = kind;
  }
}
