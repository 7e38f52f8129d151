import { Fields } from '../../cluster/fields.ts';
import { parseForeignJson } from '../../cluster/json.ts';
import { FlatnetError } from '../../error.ts';
import { reasonOf } from '../cloud/reason.ts';

/** What an instance knows of itself. */
export type Identity = { readonly instance: string; readonly region: string };

/** Milliseconds: it answers from the same machine. */
const PATIENCE = 2000;
const DEFAULT_ENDPOINT = 'http://169.254.169.254';

/**
 * Asks the instance metadata service (IMDSv2), at the address that the SDK's environment variable names.
 * Throws CLOUD.
 */
export async function readIdentity(signal: AbortSignal): Promise<Identity> {
  const endpoint = process.env.AWS_EC2_METADATA_SERVICE_ENDPOINT ?? DEFAULT_ENDPOINT;
  const ask = async (method: string, path: string, headers: Record<string, string>): Promise<string> => {
    const url = new URL(path, endpoint);
    const within = AbortSignal.any([signal, AbortSignal.timeout(PATIENCE)]);
    const answer = await fetch(url, { method, headers, signal: within, redirect: 'error' });
    if (!answer.ok) throw new Error(`${method} ${path} is answered with status ${answer.status}`);
    return answer.text();
  };
  try {
    const token = await ask('PUT', '/latest/api/token', { 'X-aws-ec2-metadata-token-ttl-seconds': '60' });
    const document = await ask('GET', '/latest/dynamic/instance-identity/document', {
      'X-aws-ec2-metadata-token': token,
    });
    const fields = new Fields(parseForeignJson(document));
    const [instance, region] = [fields.string('instanceId'), fields.string('region')];
    if (!instance || !region) throw new Error('its document lacks instanceId or region');
    return { instance, region };
  } catch (error) {
    signal.throwIfAborted();
    throw new FlatnetError(reasonOf(error), {
      code: 'CLOUD',
      operation: 'read the instance’s identity',
      object: endpoint,
      fix: 'aws-vpc runs on EC2 instances only; in a container without the host’s network, the metadata service’s hop limit must be 2',
      cause: error,
    });
  }
}
