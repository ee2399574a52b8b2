/** Real machines whose disks real storage daemons serve, in a folder of their own. */
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createConfinement } from '../../src/engine/confinement/run-confined.ts';
import type { Hypervisor, Machine, MachineDisk, MachineEvent, MachineSpec } from '../../src/engine/hypervisor/contract.ts';
import { createHypervisor } from '../../src/engine/hypervisor/create-hypervisor.ts';
import { withGuestAgent } from '../../src/engine/hypervisor/guest-agent.ts';
import type { DiskExport, Layer } from '../../src/engine/volumes/contract.ts';
import { silentLog } from '../../src/lib/log.ts';
import { eventually } from './eventually.ts';
import { buildGuest, readyLine } from './guest/build-guest.ts';
import { runInGuest } from './guest/run-in-guest.ts';
import { type LayeredFilesUnderTest, makeLayeredFiles } from './layered-files.ts';
import { endProcess, processes } from './processes.ts';

export interface ServedDisk {
  readonly disk: MachineDisk;
  readonly target: DiskExport;
  readonly layer: Layer;
}

export interface MachinesUnderTest {
  readonly files: LayeredFilesUnderTest;
  readonly runtimeDir: string;
  readonly hypervisor: Hypervisor;
  /** Another one over the same host, as after a restart. */
  another(): Hypervisor;
  serve(device: string, options?: { sizeMib?: number }): Promise<ServedDisk>;
  /** A machine with a firmware and nothing else; give it a guest or disks by `changed`. */
  spec(changed?: Partial<MachineSpec>): MachineSpec;
  guestSpec(changed?: Partial<MachineSpec>): Promise<MachineSpec>;
  untilReady(spec: MachineSpec): Promise<void>;
  /** Runs a shell script in the guest and returns what it printed. */
  inGuest(machine: Machine, script: string): Promise<string>;
  dispose(): Promise<void>;
}

const mib = 2 ** 20;
const bootTimeoutMs = 40_000;

/** `dir` is removed in the end. Default: a new one. */
export async function makeMachines(dir?: string): Promise<MachinesUnderTest> {
  const files = await makeLayeredFiles({}, dir);
  const runtimeDir = join(files.dir, 'run');
  const made: Hypervisor[] = [];
  const another = (): Hypervisor => {
    const acceleration = { kind: 'tcg', obstacle: 'missing', reason: 'tests run everywhere' } as const;
    const hypervisor = createHypervisor({
      runtimeDir,
      confinement: createConfinement(),
      probeAcceleration: async () => acceleration,
      log: silentLog,
    });
    made.push(hypervisor);
    return hypervisor;
  };
  const hypervisor = another();
  const spec = (changed: Partial<MachineSpec> = {}): MachineSpec => ({
    id: randomUUID(),
    uuid: randomUUID(),
    memoryMib: 64,
    vcpus: 1,
    disks: [],
    configDrivePath: null,
    kernel: null,
    hasAgent: false,
    network: { kind: 'none' },
    consolePath: join(files.dir, `console-${randomUUID()}`),
    ...changed,
  });
  return {
    files,
    runtimeDir,
    hypervisor,
    another,
    spec,
    async serve(device, { sizeMib = 8 } = {}) {
      const layer: Layer = { id: randomUUID(), home: randomUUID(), format: 'qcow2', sizeBytes: sizeMib * mib };
      await files.backend.createLayer(layer, []);
      const target = await files.backend.openExport(randomUUID(), [layer], { readOnly: false });
      const { socketPath } = target;
      return { layer, target, disk: { id: layer.home, device, socketPath, exportName: 'disk', readOnly: false, bootIndex: null } };
    },
    async guestSpec(changed = {}) {
      const guest = await buildGuest();
      const kernel = { kernelPath: guest.kernelPath, initrdPath: guest.initrdPath, commandLine: guest.appendFor() };
      return spec({ memoryMib: 256, hasAgent: true, kernel, ...changed });
    },
    untilReady: ({ consolePath }) =>
      eventually(async () => (await readFile(consolePath, 'latin1')).includes(readyLine), 'the guest is ready', bootTimeoutMs),
    inGuest: (machine, script) => withGuestAgent(hypervisor.agentPath(machine), (agent) => runInGuest(agent, script)),
    async dispose() {
      for (const one of made) await one.stop();
      for (const { id, commandLine } of await processes()) {
        if (commandLine.includes(files.dir) && /^qemu-(?:system|storage)/.test(commandLine)) endProcess(id);
      }
      await files.dispose();
    },
  };
}

/** A listener that keeps what it hears. */
export function notingEvents(): { listener: (event: MachineEvent) => void; events: MachineEvent[] } {
  const events: MachineEvent[] = [];
  return { events, listener: (event) => events.push(event) };
}
