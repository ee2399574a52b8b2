/** What Compute answers when something of a keypair cannot be, word for word. */
import { badRequest, conflict, forbidden, notFound } from '../../lib/errors.ts';

const invalid = (why: string) => badRequest(`Keypair data is invalid: ${why}`);

export const noSshKey = () => invalid('failed to generate fingerprint');
export const noCertificate = () => invalid('failed to generate X509 fingerprint');
export const tooMany = () => forbidden('Quota exceeded, too many key pairs.');
export const nameTaken = (name: string) => conflict(`Key pair '${name}' already exists.`);
export const noKeypair = (name: string, userId: string) => notFound(`Keypair ${name} not found for user ${userId}`);
export const noMarker = (name: string) => badRequest(`marker [${name}] not found`);
export const noUser = (userId: string) => badRequest(`User ${userId} could not be found.`);
