/** What Compute answers when something of a flavor cannot be, word for word. */
import { badRequest, conflict, notFound } from '../../lib/errors.ts';

export const noFlavor = (id: string) => notFound(`Flavor ${id} could not be found.`);
export const noMarker = (id: string) => badRequest(`marker [${id}] not found`);
export const idTaken = (id: string) => conflict(`Flavor with ID ${id} already exists.`);
export const nameTaken = (name: string) => conflict(`Flavor with name ${name} already exists.`);
export const noSpec = (id: string, key: string) => notFound(`Flavor ${id} has no extra specs with key ${key}.`);
export const noAccessList = () => notFound('Access list not available for public flavors.');
export const publicNeedsNoAccess = () => conflict('Can not add access to a public flavor.');
export const noProject = (projectId: string) => badRequest(`Project ID ${projectId} is not a valid project.`);
export const accessThere = (id: string, projectId: string) =>
  conflict(`Flavor access already exists for flavor ${id} and project ${projectId} combination.`);
export const noAccess = (id: string, projectId: string) => notFound(`Flavor access not found for ${id} / ${projectId} combination.`);
