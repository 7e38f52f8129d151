import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ApiError, apiError } from '../../../src/kubernetes/api/api-error.ts';
import { TransitError } from '../../../src/kubernetes/api/exchange.ts';
import type { ApiRequest, Verb } from '../../../src/kubernetes/api/request.ts';
import { waitAfter } from '../../../src/kubernetes/api/retry.ts';

const NODES = { group: '', version: 'v1', plural: 'nodes', kind: 'Node', namespaced: false };
const request = (verb: Verb, subresource?: string): ApiRequest => ({
  verb,
  resource: NODES,
  at: { name: 'n1' },
  subresource,
  path: '/api/v1/nodes/n1',
});

function refusal(status: number, answer: object | string, verb: Verb = 'get', retryAfter?: string): ApiError {
  const body =
    typeof answer === 'string' ? answer : JSON.stringify({ kind: 'Status', code: status, ...answer });
  return apiError(request(verb), { status, body, retryAfter });
}

test('a Status becomes an error with a stable code', () => {
  const named = { name: 'n1', kind: 'nodes' };
  const cases: [number, object | string, string][] = [
    [404, { reason: 'NotFound', details: named }, 'NOT_FOUND'],
    [404, { reason: 'NotFound', details: {} }, 'KIND_UNKNOWN'],
    [404, '404 page not found\n', 'KIND_UNKNOWN'],
    [404, '<html>no backend</html>', 'STORE_UNAVAILABLE'],
    [404, '', 'STORE_UNAVAILABLE'],
    [409, { reason: 'AlreadyExists', details: named }, 'STORE_EXISTS'],
    [409, { reason: 'Conflict', details: named }, 'STORE_CONFLICT'],
    [410, { reason: 'Expired' }, 'STORE_COMPACTED'],
    [422, { reason: 'Invalid', details: named }, 'STORE_REFUSED'],
    [400, { reason: 'BadRequest' }, 'STORE_REFUSED'],
    [401, { reason: 'Unauthorized' }, 'STORE_UNAVAILABLE'],
    [429, { reason: 'TooManyRequests' }, 'STORE_UNAVAILABLE'],
    [503, 'apiserver is shutting down', 'STORE_UNAVAILABLE'],
    [302, '', 'STORE_UNAVAILABLE'],
  ];
  for (const [status, answer, code] of cases) assert.equal(refusal(status, answer).code, code, `${status}`);
  assert.equal(
    refusal(502, '<html>bad gateway\u0007</html>').message,
    'get nodes n1: <html>bad gateway </html>',
  );
});

test('what RBAC lacks is named, as the server says it', () => {
  const message =
    'nodes "n1" is forbidden: User "system:serviceaccount:kube-system:flatnet" cannot patch resource "nodes/status" in API group "" at the cluster scope';
  const error = apiError(request('patch', 'status'), {
    status: 403,
    body: JSON.stringify({
      kind: 'Status',
      reason: 'Forbidden',
      message,
      details: { name: 'n1' },
      code: 403,
    }),
  });
  assert.equal(error.code, 'STORE_FORBIDDEN');
  assert.equal(error.object, 'nodes/status n1');
  assert.match(
    error.fix ?? '',
    /^allow system:serviceaccount:kube-system:flatnet the verb patch on nodes\/status of API group ""/,
  );
  // An admission plugin: no role would help.
  assert.equal(refusal(403, { reason: 'Forbidden', message: 'quota exceeded' }).fix, undefined);
});

test('retries: what changes nothing, what was not begun, what the server asked for', () => {
  const wait = (error: unknown, verb: Verb, attempt = 1) =>
    waitAfter(error, request(verb), attempt, () => 0.5);
  const [sent, unsent] = [
    new TransitError(new Error('reset'), true),
    new TransitError(new Error('refused'), false),
  ];
  assert.equal(wait(unsent, 'patch'), 50);
  assert.equal(wait(unsent, 'patch', 4), 400);
  assert.equal(wait(sent, 'patch'), undefined);
  assert.equal(wait(sent, 'list'), 50);
  // Seconds, as the header or the Status says, and a random part.
  assert.equal(wait(refusal(429, {}, 'create', '3'), 'create'), 3_500);
  assert.equal(wait(refusal(503, { details: { retryAfterSeconds: 2 } }, 'create'), 'create'), 2_500);
  assert.equal(wait(refusal(429, {}, 'create', '3600'), 'create'), undefined);
  assert.equal(wait(refusal(429, {}), 'create'), 50);
  assert.equal(wait(refusal(500, {}), 'create'), undefined);
  assert.equal(wait(refusal(500, {}), 'get'), 50);
  // Once, with the token read again.
  assert.equal(wait(refusal(401, {}), 'create', 1), 0);
  assert.equal(wait(refusal(401, {}), 'get', 2), undefined);
  for (const status of [400, 403, 404, 409, 410, 422])
    assert.equal(wait(refusal(status, {}), 'get'), undefined);
  assert.equal(wait(new Error('a bug'), 'get'), undefined);
});
