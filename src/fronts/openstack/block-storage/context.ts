import type { BackupsService } from '../../../cloud/backups/service.ts';
import type { GroupsService } from '../../../cloud/groups/service.ts';
import type { HostsService } from '../../../cloud/hosts/service.ts';
import type { VolumeImages } from '../../../cloud/images/from-volume.ts';
import type { MessagesService } from '../../../cloud/messages/service.ts';
import type { Quotas } from '../../../cloud/quotas/service.ts';
import type { SnapshotsService } from '../../../cloud/snapshots/service.ts';
import type { TransfersService } from '../../../cloud/transfers/service.ts';
import type { VolumeTypesService } from '../../../cloud/volume-types/service.ts';
import type { VolumesService } from '../../../cloud/volumes/service.ts';
import type { TokenValidator } from '../shared/authentication.ts';

/** What the routes of Block Storage work with. */
export interface BlockStorageFront {
  readonly identity: TokenValidator;
  readonly quotas: Quotas;
  readonly hosts: HostsService;
  readonly volumeTypes: VolumeTypesService;
  readonly messages: MessagesService;
  readonly volumes: VolumesService;
  readonly snapshots: SnapshotsService;
  readonly backups: BackupsService;
  readonly transfers: TransfersService;
  readonly groups: GroupsService;
  readonly volumeImages: VolumeImages;
  readonly publicUrl: string | undefined;
}
