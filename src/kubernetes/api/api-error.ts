import { type ErrorCode, type ErrorParts, FlatnetError } from '../../error.ts';
import { excerpt } from '../../problem.ts';
import { asJson, type Json } from './object.ts';
import { type ApiRequest, objectText } from './request.ts';

/** The API server's refusal: a Status object, or a proxy's words. */
export class ApiError extends FlatnetError {
  /** The HTTP status. */
  readonly status: number;
  /** Status.reason, e.g. `AlreadyExists`; empty if the answer was no Status. */
  readonly reason: string;
  /** Milliseconds to wait before asking again, if the server said so. */
  readonly retryAfter: number | undefined;

  constructor(text: string, parts: ErrorParts, status: number, reason: string, retryAfter?: number) {
    super(text, parts);
    this.status = status;
    this.reason = reason;
    this.retryAfter = retryAfter;
  }
}

type Refusal = {
  readonly status: number;
  readonly body: string;
  /** The header, in seconds. */
  readonly retryAfter?: string | undefined;
};

/**
 * The error for an answer. Codes: STORE_UNAVAILABLE (not now: overload, 401, 5xx, a proxy's 404),
 * STORE_FORBIDDEN (403), NOT_FOUND, KIND_UNKNOWN (the server does not know the resource), STORE_EXISTS,
 * STORE_CONFLICT (409), STORE_COMPACTED (410), and STORE_REFUSED for whatever will be refused again.
 */
export function apiError(request: ApiRequest, { status, body, retryAfter }: Refusal): ApiError {
  const answer = parseStatus(body);
  const details = asJson(answer.details);
  const reason = typeof answer.reason === 'string' ? answer.reason : '';
  const said = typeof answer.message === 'string' ? answer.message : body.trim();
  const text = excerpt(said, 500) || `HTTP status ${status}`;
  const seconds = Number(retryAfter ?? details.retryAfterSeconds);
  const code = isStrangers404(status, answer, body)
    ? 'STORE_UNAVAILABLE'
    : codeFor(status, reason, typeof details.name === 'string' && details.name !== '');
  const fix = fixFor(code, status, request, text);
  return new ApiError(
    text,
    { code, operation: request.verb, object: objectText(request), ...(fix !== undefined && { fix }) },
    status,
    reason,
    Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : undefined,
  );
}

/** The error for a Status that came as an event of a watch. */
export function statusError(request: ApiRequest, status: Json): ApiError {
  return apiError(request, { status: Number(status.code), body: JSON.stringify(status) });
}

function codeFor(status: number, reason: string, namesObject: boolean): ErrorCode {
  if (status === 401 || status === 429 || status >= 500) return 'STORE_UNAVAILABLE';
  if (status === 403) return 'STORE_FORBIDDEN';
  // A missing object is named; for an unknown resource the server has no name to give.
  if (status === 404) return namesObject ? 'NOT_FOUND' : 'KIND_UNKNOWN';
  if (status === 409) return reason === 'AlreadyExists' ? 'STORE_EXISTS' : 'STORE_CONFLICT';
  if (status === 410) return 'STORE_COMPACTED';
  return status >= 400 && status < 500 ? 'STORE_REFUSED' : 'STORE_UNAVAILABLE';
}

/**
 * Whether a 404 is a proxy's or load balancer's. An API server answers with a Status or, for a group or
 * resource that it does not know, with this line.
 */
function isStrangers404(status: number, answer: Json, body: string): boolean {
  return status === 404 && answer.kind !== 'Status' && body.trim() !== '404 page not found';
}

/** How RBAC says no: `User "u" cannot list resource "nodes" in API group "" at the cluster scope`. */
const DENIED = /User "([^"]*)" cannot (\S+) resource "([^"]*)" in API group "([^"]*)"/;

function fixFor(code: ErrorCode, status: number, request: ApiRequest, text: string): string | undefined {
  const { group, version } = request.resource;
  if (code === 'KIND_UNKNOWN') {
    return `install the CustomResourceDefinition ${request.resource.plural}.${group} with version ${version}`;
  }
  if (code === 'STORE_FORBIDDEN') {
    const [, user, verb, resource, apiGroup] = DENIED.exec(text) ?? [];
    // An admission plugin says no in its own words.
    if (verb === undefined) return undefined;
    return `allow ${user} the verb ${verb} on ${resource} of API group "${apiGroup}" (a ClusterRole or Role)`;
  }
  if (status === 401) return 'check the token or client certificate';
  return undefined;
}

function parseStatus(body: string): Json {
  try {
    return asJson(JSON.parse(body));
  } catch {
    // A proxy's page, or the plain text of a server that is starting.
    return {};
  }
}
