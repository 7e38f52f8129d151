/** A session, from its name to its end. */
const PROTOCOL = /^protocol bgp \S+ \{\n.*?^\}\n/gms;
/** What comes before a session's channel: BIRD can't change any of it while the session is up. */
const OPTIONS = /^protocol bgp (\S+) \{\n(.*?)^ {2}ipv[46] \{$/gms;

/**
 * The sessions of both configurations that BIRD would close and open again by `configure`. It says goodbye
 * first, and the peer drops the routes; a restart of BIRD it does not hold against us (RFC 4724).
 */
export function sessionsCut(before: string, after: string): string[] {
  const options = new Map([...before.matchAll(OPTIONS)].map(([, name, text]) => [name, text]));
  return [...after.matchAll(OPTIONS)].flatMap(([, name, text]) =>
    name !== undefined && options.has(name) && options.get(name) !== text ? [name] : [],
  );
}

/** The same configuration with nobody to speak with. */
export function withoutSessions(text: string): string {
  return text.replaceAll(PROTOCOL, '');
}
