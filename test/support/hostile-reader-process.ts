/** Reads a qcow2 file with the direct reader, and prints how that ended and the most memory that this process ever had. */
import { closeSync } from 'node:fs';
import { dataBytesOf, openLayer } from '../../src/engine/disk/load-layer.ts';
import { openDisk } from '../../src/engine/disk/open-disk.ts';
import { Qcow2Error } from '../../src/engine/disk/qcow2-header.ts';

const [path = ''] = process.argv.slice(2);
const chunk = Buffer.alloc(1024 * 1024);
const placesRead = 40;

function read(): string {
  try {
    const layer = openLayer({ path, format: 'qcow2' });
    const { sizeBytes } = layer;
    dataBytesOf(layer);
    closeSync(layer.fd);
    const disk = openDisk({ layers: [{ path, format: 'qcow2', sizeBytes }], sizeBytes });
    disk.allocated(65_536);
    for (let place = 0; place < placesRead; place += 1) {
      const offset = Math.floor((sizeBytes / placesRead) * place);
      disk.readSync(chunk.subarray(0, Math.min(chunk.length, sizeBytes - offset)), offset);
    }
    disk.close();
    return 'read';
  } catch (error) {
    if (error instanceof Qcow2Error) return `declined: ${error.message}`;
    throw error;
  }
}

const outcome = read();
process.stdout.write(JSON.stringify({ outcome, memoryMib: Math.round(process.resourceUsage().maxRSS / 1024) }));
