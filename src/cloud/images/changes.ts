/** What an update makes of an image. Pure: the caller locks the row before, and writes the result. */
import { badRequest, conflict, forbidden, tooLarge } from '../../lib/errors.ts';
import type { StringMap } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import { isAllowed } from '../identity/policy.ts';
import { authorise } from './access.ts';
import { type Image, type ImageAttributes, type ImageChange, propertiesMax, tagsMax, type Visibility } from './image.ts';
import { can } from './states.ts';

/** Applies all changes in turn, or throws the refusal of the first that is not allowed. */
export function applyChanges(caller: Caller, image: Image, changes: readonly ImageChange[]): Image {
  // Changed in place: there may be many changes, and the limit on properties holds for what they come to in the end.
  const properties = new Map(Object.entries(image.properties));
  let attributes = image;
  for (const change of changes) {
    if (change.kind === 'attribute') attributes = changeAttribute(caller, attributes, change);
    else changeProperty(properties, change);
  }
  const changed = { ...attributes, properties: Object.fromEntries(properties) };
  checkLimits(changed);
  return changed;
}

function changeAttribute(caller: Caller, image: Image, { op, wireName, values }: ImageChange & { kind: 'attribute' }): Image {
  if (op === 'remove') throw forbidden(`Property ${wireName} may not be removed.`);
  if (op === 'create') throw conflict(`Property ${wireName} already present.`);
  if (values.owner !== undefined && !isAllowed(caller, 'image:give_away', { projectId: image.owner })) {
    throw forbidden("Owner can't be updated by non admin.");
  }
  if (values.visibility !== undefined && values.visibility !== image.visibility) checkVisibility(caller, image.owner, values.visibility);
  if (formats.some((format) => format in values && !mayChangeFormat(image, format))) {
    throw forbidden(`Attribute ${wireName} can be only replaced for a queued image.`);
  }
  checkSizes(values);
  return { ...image, ...values, tags: values.tags === undefined ? image.tags : withoutRepeats(values.tags) };
}

const formats = ['diskFormat', 'containerFormat'] as const;

const mayChangeFormat = (image: Image, format: (typeof formats)[number]): boolean =>
  can.changeFormat(image) || (image[format] === null && can.addFormat(image));

function changeProperty(properties: Map<string, string>, change: ImageChange & { kind: 'property' }): void {
  const exists = properties.has(change.name);
  if (change.op === 'create' && exists) throw conflict(`Property ${change.name} already present.`);
  if ((change.op === 'replace' || change.op === 'remove') && !exists) throw conflict(`Property ${change.name} does not exist.`);
  if (change.op === 'remove') properties.delete(change.name);
  else properties.set(change.name, change.value);
}

export function checkVisibility(caller: Caller, owner: string, visibility: Visibility): void {
  if (visibility === 'public') authorise(caller, 'image:publicize', owner);
  if (visibility === 'community') authorise(caller, 'image:communitize', owner);
}

export function checkSizes(values: Partial<ImageAttributes>): void {
  for (const [param, value] of [
    ['min_disk', values.minDiskGib],
    ['min_ram', values.minRamMib],
  ] as const) {
    if (value !== undefined && value < 0) throw badRequest(`Invalid value '${value}' for parameter '${param}': Cannot be a negative value`);
  }
}

export function checkLimits(image: { readonly properties: StringMap; readonly tags: readonly string[] }): void {
  const propertyCount = Object.keys(image.properties).length;
  if (propertyCount > propertiesMax) throw overLimitOf('properties', propertyCount, propertiesMax);
  if (image.tags.length > tagsMax) throw overLimitOf('tags', image.tags.length, tagsMax);
}

const overLimitOf = (what: string, attempted: number, maximum: number) =>
  tooLarge(`The limit has been exceeded on the number of allowed image ${what}. Attempted: ${attempted}, Maximum: ${maximum}`);

export const withoutRepeats = (tags: readonly string[]): string[] => [...new Set(tags)];
