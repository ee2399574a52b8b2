/** The arguments of QEMU for a machine: what hardware the guest finds, and what QEMU may do. */
import type { Acceleration } from './acceleration.ts';
import type { MachineNetwork, MachineSpec } from './contract.ts';
import { checkDevice, deviceOptions, nodeOptions } from './machine-disks.ts';
import type { MachineFolder } from './machine-folder.ts';
import { checkId, markOf } from './machine-process.ts';

/** In option strings a comma ends a value. */
const escapeComma = (text: string): string => text.replaceAll(',', ',,');

/** Beside these, disks have slots 4 (vda) to 29 (vdz). */
const slots = { screen: 0x2, agent: 0x3, random: 0x1e, network: 0x1f } as const;
/** What TCG keeps of translated code; it would take up to a GiB. */
const translatedMib = 256;

/** Throws a `RangeError` when the spec is not one. */
export function machineArguments(spec: MachineSpec, folder: MachineFolder, acceleration: Acceleration): string[] {
  checkId(spec.id);
  for (const disk of spec.disks) {
    checkId(disk.id);
    checkDevice(disk.device);
  }
  return [
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-msg', 'timestamp=on'],
    ...['-name', markOf(spec.id), '-uuid', spec.uuid, '-pidfile', folder.pidPath],
    // System calls for starting programs, other users and priorities end QEMU.
    ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    // i440fx: its slots can be plugged at any time, without bridges that would have to be there beforehand.
    ...['-machine', 'pc,usb=off,dump-guest-core=off', ...accelerationArguments(acceleration)],
    // A guest that slept as laptops do could only be woken by a button.
    ...['-global', 'PIIX4_PM.disable_s3=1', '-global', 'PIIX4_PM.disable_s4=1'],
    ...['-smp', String(spec.vcpus), '-m', `size=${spec.memoryMib}M`, '-rtc', 'base=utc'],
    // A guest that turned itself off or crashed stays, without running, so that it can be seen how it ended.
    ...['-action', 'shutdown=pause,panic=pause', '-device', 'pvpanic'],
    ...monitorArguments('monitor', folder.monitorPath),
    ...monitorArguments('rescue', folder.rescuePath),
    ...['-chardev', `file,id=console,path=${escapeComma(spec.consolePath)},append=on`, '-serial', 'chardev:console'],
    ...device({ driver: 'VGA', addr: slots.screen }),
    ...['-vnc', `unix:${escapeComma(folder.screenPath)}`],
    ...device({ driver: 'virtio-rng-pci', addr: slots.random }),
    ...spec.disks.flatMap((disk) => ['-blockdev', JSON.stringify(nodeOptions(folder, disk)), ...device(deviceOptions(disk))]),
    ...(spec.hasAgent ? agentArguments(folder) : []),
    ...(spec.configDrivePath === null ? [] : configDriveArguments(spec.configDrivePath)),
    ...kernelArguments(spec),
    ...networkArguments(spec.network, spec.uuid),
    // Nothing runs before it is recorded.
    '-S',
  ];
}

/** Numbers of slots are read as hexadecimal text. */
const device = (options: object): string[] => [
  '-device',
  JSON.stringify(options, (key, value) => (key === 'addr' && typeof value === 'number' ? `0x${value.toString(16)}` : value)),
];

const accelerationArguments = ({ kind }: Acceleration): string[] =>
  kind === 'kvm' ? ['-accel', 'kvm', '-cpu', 'host'] : ['-accel', `tcg,tb-size=${translatedMib}`, '-cpu', 'max'];

const monitorArguments = (id: string, path: string): string[] => [
  ...['-chardev', `socket,id=${id},path=${escapeComma(path)},server=on,wait=off`],
  ...['-mon', `chardev=${id},mode=control`],
];

const agentArguments = (folder: MachineFolder): string[] => [
  ...device({ driver: 'virtio-serial-pci', id: 'channels', addr: slots.agent }),
  ...['-chardev', `socket,id=agent,path=${escapeComma(folder.agentPath)},server=on,wait=off`],
  ...device({ driver: 'virtserialport', bus: 'channels.0', chardev: 'agent', name: 'org.qemu.guest_agent.0' }),
];

/** A CD drive of the chip set, so that it takes no name that disks have. */
const configDriveArguments = (path: string): string[] => [
  ...['-blockdev', JSON.stringify({ driver: 'file', 'node-name': 'config-file', filename: path, 'read-only': true })],
  ...['-blockdev', JSON.stringify({ driver: 'raw', 'node-name': 'config', file: 'config-file', 'read-only': true })],
  ...device({ driver: 'ide-cd', id: 'config-drive', bus: 'ide.0', drive: 'config' }),
];

function kernelArguments({ kernel }: MachineSpec): string[] {
  if (kernel === null) return [];
  const initrd = kernel.initrdPath === null ? [] : ['-initrd', escapeComma(kernel.initrdPath)];
  return ['-kernel', kernel.kernelPath, ...initrd, '-append', kernel.commandLine];
}

function networkArguments(network: MachineNetwork, uuid: string): string[] {
  if (network.kind === 'none') return [];
  const forwards = network.forwards.map(({ hostPort, guestPort }) => `,hostfwd=tcp:127.0.0.1:${hostPort}-:${guestPort}`);
  const mac = `52:54:00:${(uuid.replaceAll('-', '').slice(-6).match(/../g) ?? []).join(':')}`;
  return [
    ...['-netdev', `user,id=network,ipv6=off,restrict=${network.restricted ? 'on' : 'off'}${forwards.join('')}`],
    // Without a ROM of its own: nobody boots from here.
    ...device({ driver: 'virtio-net-pci', netdev: 'network', mac, addr: slots.network, romfile: '' }),
  ];
}
