import { FlatnetError, messageOf } from '../../error.ts';
import { excerpt } from '../../problem.ts';

/** What to do about an error of EC2, by its code. */
const FIXES: Readonly<Record<string, string>> = {
  RouteLimitExceeded: 'raise the quota of routes per route table, or use larger subnets for fewer nodes',
  AuthFailure: 'check the credentials, and this machine’s clock',
  RequestExpired: 'check this machine’s clock',
  InvalidClientTokenId: 'check the credentials',
  ExpiredToken: 'check the credentials',
  CredentialsProviderError:
    'give the instance an IAM role, or the agent AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY',
};
const THROTTLED = ['RequestLimitExceeded', 'Throttling', 'ThrottlingException', 'TooManyRequestsException'];

/** Describes an error of the SDK, for people. `action`: as IAM names it. */
export function cloudFailure(error: unknown, action: string, object: string): FlatnetError {
  const name = error instanceof Error ? error.name : '';
  const parts = { code: 'CLOUD', operation: action, object, cause: error } as const;
  if (name === 'UnauthorizedOperation' || name === 'AccessDenied') {
    const fix = `allow ${action} in the policy of the instance’s IAM role`;
    return new FlatnetError('is not allowed', { ...parts, fix });
  }
  if (THROTTLED.includes(name)) return new FlatnetError('EC2 limits requests; trying again later', parts);
  const fix = FIXES[name];
  const text = [name, excerpt(messageOf(error), 300)].filter(Boolean).join(': ');
  return new FlatnetError(text, { ...parts, ...(fix !== undefined && { fix }) });
}

/** Whether EC2 says that what was asked for is not there. */
export function isNotFound(error: unknown): boolean {
  return error instanceof Error && /\.NotFound$/.test(error.name);
}
