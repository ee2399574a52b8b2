/** The formats that are opened, as QEMU's drivers are called; but for `iso`, which is opened as raw. */
export type DiskKind = 'raw' | 'iso' | 'qcow2' | 'vmdk' | 'vpc' | 'vhdx' | 'vdi';
