/** The versions that clients may ask for. Those that are left out came with features that are not here. */
const supported = ['v2.9', 'v2.7', 'v2.6', 'v2.5', 'v2.4', 'v2.3', 'v2.2', 'v2.1', 'v2.0'];
const current = 'v2.15';

/** `base` is the public URL of Image, without a slash at the end. */
export function versionsDocument(base: string): unknown {
  const links = [{ rel: 'self', href: `${base}/v2/` }];
  return {
    versions: [{ id: current, status: 'CURRENT', links }, ...supported.map((id) => ({ id, status: 'SUPPORTED', links }))],
  };
}
