export const gib = 2 ** 30;

/** More would not fit the column, nor any disk. */
export const volumeSizeGibMax = 2 ** 24;

/** What a new volume takes of a project's quota. */
export function quotaOfVolume(typeName: string, sizeGib: number): Record<string, number> {
  return {
    volumes: 1,
    gigabytes: sizeGib,
    per_volume_gigabytes: sizeGib,
    [`volumes_${typeName}`]: 1,
    [`gigabytes_${typeName}`]: sizeGib,
  };
}

/** Under which every disk is served. */
export const exportName = 'disk';
