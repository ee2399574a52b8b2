/** Volume types: what operators say of volumes, and which type a volume gets. */
import { configuredDefaultId, typeChoice } from './choice.ts';
import type { TypeChoice } from './contract.ts';
import { createDefaultTypes, type DefaultTypesService } from './default-types.ts';
import { createEncryptionService, type EncryptionService } from './encryption.ts';
import { createQos, type QosService } from './qos.ts';
import { createTypes, type TypesDeps, type TypesService } from './types.ts';

export type { Encryption, QosSpecs, TypeChoice, VolumeType } from './contract.ts';
export { configuredDefaultId };

export interface VolumeTypesService extends TypesService, EncryptionService {
  readonly qos: QosService;
  readonly defaults: DefaultTypesService;
  readonly choice: TypeChoice;
}

export function createVolumeTypes(deps: TypesDeps): VolumeTypesService {
  return {
    ...createTypes(deps),
    ...createEncryptionService(deps),
    qos: createQos(deps),
    defaults: createDefaultTypes(deps),
    choice: typeChoice,
  };
}
