/** A whole session block. */
const PROTOCOL = /^protocol bgp \S+ \{\n.*?^\}\n/gms;
/** A session's options, before its channel: BIRD can't change any of them while the session is up. */
const OPTIONS = /^protocol bgp (\S+) \{\n(.*?)^ {2}ipv[46] \{$/gms;

/**
 * Returns the sessions in both configurations that `configure` would close and reopen. BIRD would send a
 * Cease first and the peer would drop the routes, whereas it keeps them across a graceful restart of BIRD
 * (RFC 4724).
 */
export function sessionsCut(before: string, after: string): string[] {
  const options = new Map([...before.matchAll(OPTIONS)].map(([, name, text]) => [name, text]));
  return [...after.matchAll(OPTIONS)].flatMap(([, name, text]) =>
    name !== undefined && options.has(name) && options.get(name) !== text ? [name] : [],
  );
}

/** Returns the configuration without its sessions. */
export function withoutSessions(text: string): string {
  return text.replaceAll(PROTOCOL, '');
}
