import { conflict } from '../../lib/errors.ts';
import type { VolumeAttachment } from './contract.ts';
import type { ServerSources } from './sources.ts';

/** Taking a disk away from a guest is for who runs it: what the guest has not written yet would be lost. 409 as from Block Storage. */
export async function refuseServers(
  { servers }: { readonly servers?: ServerSources },
  attachment: VolumeAttachment | undefined,
): Promise<void> {
  if (attachment === undefined || !(await servers?.hasDisk(attachment.id))) return;
  throw conflict(`Detach volume from instance ${attachment.instanceId} using the Compute API`);
}
