/** What a server's machine is made of. */
import type { MachineDisk, MachineSpec } from '../../engine/hypervisor/contract.ts';
import type { FilesOfMachine } from '../../engine/hypervisor/machine-files.ts';
import type { StringMap } from '../database/service.ts';
import type { Server } from './contract.ts';

/** What Nova starts kernels with when the image does not say. */
const defaultCommandLine = 'root=/dev/vda console=tty0 console=ttyS0';

export function specOf(server: Server, machineId: string, disks: readonly MachineDisk[], files: FilesOfMachine): MachineSpec {
  const { flavor, imageProperties } = server;
  return {
    id: machineId,
    uuid: server.id,
    memoryMib: flavor.ramMib,
    vcpus: flavor.vcpus,
    disks,
    configDrivePath: files.configDrivePath,
    kernel:
      files.kernelPath === null
        ? null
        : {
            kernelPath: files.kernelPath,
            initrdPath: files.initrdPath,
            commandLine: imageProperties.os_command_line ?? defaultCommandLine,
          },
    hasAgent: hasAgent(imageProperties),
    network: { kind: 'user', restricted: true, forwards: [] },
    consolePath: files.consolePath,
  };
}

const isTrue = (text: string | undefined): boolean => ['1', 't', 'true', 'on', 'y', 'yes'].includes((text ?? '').toLowerCase());

export const hasAgent = (imageProperties: StringMap): boolean => isTrue(imageProperties.hw_qemu_guest_agent);

export const requiresQuiesce = (imageProperties: StringMap): boolean => isTrue(imageProperties.os_require_quiesce);
