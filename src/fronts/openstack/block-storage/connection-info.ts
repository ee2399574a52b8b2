/** How an NBD client reaches a disk, in the words that connection data of every driver has. */
import type { Connection } from '../../../cloud/volumes/service.ts';

export const driverVolumeType = 'nbd';

export function connectionData(volumeId: string, { socketPath, exportName, accessMode }: Connection) {
  return {
    volume_id: volumeId,
    uri: `nbd+unix:///${exportName}?socket=${encodeURI(socketPath)}`,
    socket_path: socketPath,
    export_name: exportName,
    access_mode: accessMode,
    encrypted: false,
    qos_specs: null,
    cacheable: false,
    discard: true,
  };
}
