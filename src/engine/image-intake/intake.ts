/** Everything that happens to the bytes of an image, as one thing to hand to the use cases. */
import type { Confinement } from '../confinement/run-confined.ts';
import type { ExtentSet } from '../disk/extent-set.ts';
import { type Conversion, convertToRaw } from './convert.ts';
import type { DiskKind } from './disk-kind.ts';
import { type DiskExportOrder, exportDisk } from './export-disk.ts';
import { createImageFiles, type ImageFiles } from './files.ts';
import { type InspectedImage, type InspectionOptions, inspectImage } from './inspect.ts';
import { createUploads, type Uploads } from './upload.ts';
import type { DownloadRules } from './web-addresses.ts';
import { createWebDownload, type WebDownload } from './web-download.ts';

export interface ImageIntake {
  readonly files: ImageFiles;
  readonly uploads: Uploads;
  inspect(path: string, kind: DiskKind, options: InspectionOptions): Promise<InspectedImage>;
  convertToRaw(conversion: Conversion): Promise<ExtentSet>;
  /** Undefined where it is switched off. */
  readonly webDownload: WebDownload | undefined;
  exportDisk(order: DiskExportOrder): Promise<void>;
}

export interface IntakeOptions {
  readonly imagesDir: string;
  readonly confinement: Confinement;
  /** Undefined: images are not fetched from the web. */
  readonly download?: DownloadRules | undefined;
}

export function createImageIntake(options: IntakeOptions): ImageIntake {
  return {
    files: createImageFiles(options.imagesDir),
    uploads: createUploads(),
    inspect: inspectImage,
    webDownload: options.download === undefined ? undefined : createWebDownload(options.download),
    convertToRaw: (conversion) => convertToRaw(options.confinement, conversion),
    exportDisk: (order) => exportDisk(options.confinement, order),
  };
}
