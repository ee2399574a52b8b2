/** What Block Storage answers when something of a type cannot be, word for word. */
import { badRequest, conflict, notFound } from '../../lib/errors.ts';
import { isUuid } from '../../lib/ids.ts';

export const noType = (idOrName: string) => notFound(`Volume type ${isUuid(idOrName) ? '' : 'with name '}${idOrName} could not be found.`);
export const noTypeWithId = (id: string) => notFound(`Volume type ${id} could not be found.`);
export const nameTaken = (name: string) => conflict(`Volume Type ${name} already exists.`);
export const stillInUse = (id: string) => badRequest(`Volume Type ${id} deletion is not allowed with volumes present with the type.`);
export const isDefault = (id: string) => badRequest(`The volume type ${id} is a default volume type and cannot be deleted.`);
export const specsInUse = () => badRequest('Volume Type is currently in use.');
export const noSpec = (id: string, key: string) => notFound(`Volume Type ${id} has no extra specs with key ${key}.`);
export const noAccessList = () => notFound('Access list not available for public volume types.');
export const publicNeedsNoAccess = () => conflict('Invalid volume type: Type access modification is not applicable to public volume type.');
export const accessThere = (id: string, projectId: string) =>
  conflict(`Volume type access for ${id} / ${projectId} combination already exists.`);
export const noAccess = (id: string, projectId: string) => notFound(`Volume type access not found for ${id} / ${projectId} combination.`);
export const encryptionThere = (id: string) => badRequest(`Volume type encryption for type ${id} already exists.`);
export const noEncryption = (id: string) => notFound(`Volume type encryption for type ${id} does not exist.`);
export const encryptionInUse = (verb: 'create' | 'update' | 'delete') => badRequest(`Cannot ${verb} encryption specs. Volume type in use.`);
/** Of a type whose disks would have to be encrypted: there is nobody to keep the keys. */
export const noKeyManager = () => badRequest('Key manager error');
export const noDefault = (projectId: string) => notFound(`Default type for project ${projectId} not found.`);
export const noQos = (id: string) => notFound(`No such QoS spec ${id}.`);
export const qosNameTaken = (name: string) => conflict(`QoS Specs ${name} already exists.`);
export const qosInUse = (id: string) => badRequest(`QoS Specs ${id} is still associated with entities.`);
export const noQosKey = (id: string, key: string) => notFound(`QoS spec ${id} has no spec with key ${key}.`);
export const otherQos = (typeId: string, qosId: string) =>
  badRequest(`Invalid volume type: Type ${typeId} is already associated with another qos specs: ${qosId}`);
