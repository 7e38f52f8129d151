import { FlatnetError } from '../../error.ts';
import { reasonOf } from '../cloud/reason.ts';

/** Where an instance is. */
export type Identity = { readonly project: string; readonly zone: string; readonly name: string };

/** Milliseconds: it answers from the same machine. */
const PATIENCE = 3000;
/** Its name, `metadata.google.internal`, need not be resolved. */
const DEFAULT_HOST = '169.254.169.254';

/** Asks the metadata server, which Google's own variable may move. Throws CLOUD. */
export async function readMetadata(path: string, signal: AbortSignal): Promise<string> {
  const host = process.env.GCE_METADATA_HOST ?? DEFAULT_HOST;
  const url = `http://${host}/computeMetadata/v1/${path}`;
  try {
    const within = AbortSignal.any([signal, AbortSignal.timeout(PATIENCE)]);
    const headers = { 'Metadata-Flavor': 'Google' };
    const answer = await fetch(url, { headers, signal: within, redirect: 'error' });
    // Anything else at that address would not say so.
    if (answer.headers.get('Metadata-Flavor') !== 'Google') throw new Error('is not Google’s');
    if (!answer.ok) throw new Error(`is answered with status ${answer.status}`);
    return await answer.text();
  } catch (error) {
    signal.throwIfAborted();
    throw new FlatnetError(reasonOf(error), {
      code: 'CLOUD',
      operation: 'read the instance’s metadata',
      object: url,
      fix: 'gce runs on instances of Compute Engine only',
      cause: error,
    });
  }
}

/** This instance, as the metadata server knows it. Throws CLOUD. */
export async function readIdentity(signal: AbortSignal): Promise<Identity> {
  const [project, zone, name] = await Promise.all(
    ['project/project-id', 'instance/zone', 'instance/name'].map((path) => readMetadata(path, signal)),
  );
  // Its zone is `projects/NUMBER/zones/ZONE`.
  return { project: project ?? '', zone: zone?.split('/').at(-1) ?? '', name: name ?? '' };
}
