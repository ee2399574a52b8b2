/** Block Storage, version 3: what `/volume` answers. Every route exists with the project's id in its path and without. */
import type { FastifyInstance, FastifyPluginCallback } from 'fastify';
import { authenticate } from '../shared/authentication.ts';
import { answerWithCinderFaults } from '../shared/cinder-fault.ts';
import { acceptJson } from '../shared/json-parser.ts';
import { negotiateMicroversion } from '../shared/microversion.ts';
import { nameRequests } from '../shared/request-id.ts';
import { exactPathsOnly, ownProjectOnly } from '../shared/request-paths.ts';
import { serveDiscovery } from '../shared/service-root.ts';
import { registerAbsentFeatureRoutes } from './absent-features.ts';
import { registerAttachmentRoutes } from './attachments.ts';
import { registerAvailabilityZoneRoutes } from './availability-zones.ts';
import { registerBackendRoutes } from './backends.ts';
import { registerBackupRoutes } from './backups.ts';
import type { BlockStorageFront } from './context.ts';
import { registerDefaultTypeRoutes } from './default-types.ts';
import { registerExtensionRoutes } from './extensions.ts';
import { registerGroupSnapshotRoutes } from './group-snapshots.ts';
import { registerGroupTypeRoutes } from './group-types.ts';
import { registerGroupRoutes } from './groups.ts';
import { registerLimitRoutes } from './limits.ts';
import { registerManageRoutes } from './manageable.ts';
import { registerMessageRoutes } from './messages.ts';
import { registerQosRoutes } from './qos-specs.ts';
import { registerQuotaRoutes } from './quota-sets.ts';
import { registerResourceFilterRoutes } from './resource-filters.ts';
import { registerServiceRoutes } from './services.ts';
import { registerSnapshotRoutes } from './snapshots.ts';
import { registerTransferRoutes } from './transfers.ts';
import { registerTypeEncryptionRoutes } from './type-encryption.ts';
import { registerTypeExtraSpecRoutes } from './type-extra-specs.ts';
import { highestMicroversion, lowestMicroversion, versionsDocument } from './versions.ts';
import { registerVolumeActionRoutes } from './volume-actions.ts';
import { registerVolumeTypeRoutes } from './volume-types.ts';
import { registerVolumeRoutes } from './volumes.ts';

const servicePath = '/volume';
const contentTypes = ['application/json', 'application/vnd.openstack.volume+json'] as const;

/** Register it below the prefix `/volume`. */
export function blockStorageFront(app: FastifyInstance, front: BlockStorageFront, done: () => void): void {
  nameRequests(app);
  answerWithCinderFaults(app);
  serveDiscovery(app, front.publicUrl, [
    { path: '/', code: 300, document: versionsOf },
    { path: '/v3', code: 200, document: versionsOf },
    { path: '/healthcheck', code: 200, document: () => 'OK' },
  ]);
  app.register(guardedRoutes(front, [registerDefaultTypeRoutes]), { prefix: '/v3' });
  app.register(guardedRoutes(front), { prefix: '/v3/:projectId' });
  done();
}

const versionsOf = (base: string): unknown => versionsDocument(`${base}${servicePath}`);

type RegisterRoutes = (app: FastifyInstance, front: BlockStorageFront) => void;

const guardedRoutes =
  (front: BlockStorageFront, more: readonly RegisterRoutes[] = []): FastifyPluginCallback =>
  (app, _options, done) => {
    app.addHook('onRequest', authenticate(front.identity, front));
    app.addHook('onRequest', exactPathsOnly);
    app.addHook('onRequest', negotiateMicroversion({ service: 'volume', lowest: lowestMicroversion, highest: highestMicroversion }));
    app.addHook(
      'onRequest',
      ownProjectOnly(() => 'Malformed request url'),
    );
    acceptJson(app, { contentTypes, brokenMessage: 'cannot understand JSON' });
    const groups = [
      registerVolumeRoutes,
      registerVolumeActionRoutes,
      registerAttachmentRoutes,
      registerTransferRoutes,
      registerManageRoutes,
      registerGroupTypeRoutes,
      registerGroupRoutes,
      registerGroupSnapshotRoutes,
      registerSnapshotRoutes,
      registerVolumeTypeRoutes,
      registerTypeExtraSpecRoutes,
      registerTypeEncryptionRoutes,
      registerQosRoutes,
      registerQuotaRoutes,
      registerLimitRoutes,
      registerAvailabilityZoneRoutes,
      registerExtensionRoutes,
      registerServiceRoutes,
      registerBackendRoutes,
      registerMessageRoutes,
      registerResourceFilterRoutes,
      registerAbsentFeatureRoutes,
    ];
    for (const routes of [...groups, registerBackupRoutes, ...more]) routes(app, front);
    done();
  };
