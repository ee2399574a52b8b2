/** Everything that happens to the bytes of an image, as one thing to hand to the use cases. */
import type { Confinement } from '../confinement/run-confined.ts';
import type { ExtentSet } from '../disk/extent-set.ts';
import { type Conversion, convertToRaw } from './convert.ts';
import { createImageFiles, type ImageFiles } from './files.ts';
import { type InspectedImage, type InspectionOptions, inspectQcow2 } from './inspect.ts';
import { createUploads, type Uploads } from './upload.ts';

export interface ImageIntake {
  readonly files: ImageFiles;
  readonly uploads: Uploads;
  inspectQcow2(path: string, options: InspectionOptions): Promise<InspectedImage>;
  convertToRaw(conversion: Conversion): Promise<ExtentSet>;
}

export function createImageIntake(options: { imagesDir: string; confinement: Confinement }): ImageIntake {
  return {
    files: createImageFiles(options.imagesDir),
    uploads: createUploads(),
    inspectQcow2,
    convertToRaw: (conversion) => convertToRaw(options.confinement, conversion),
  };
}
