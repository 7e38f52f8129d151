/** A whole session block. */
const PROTOCOL = /^protocol bgp \S+ \{\n.*?^\}\n/gms;
/** A session's options, and those of its channel. */
const OPTIONS = /^protocol bgp (\S+) \{\n(.*?)^ {2}ipv[46] \{$(.*?)^ {2}\};$/gms;
/**
 * The options of a channel that BIRD can't change while the session is up, like all options before it
 * (bgp_channel_reconfigure).
 */
const FIXED = /^ +(?:igp table|add paths) .*$/gm;

/**
 * Returns the sessions in both configurations that `configure` would close and reopen. BIRD would send a
 * Cease first and the peer would drop the routes, whereas it keeps them across a graceful restart of BIRD
 * (RFC 4724).
 */
export function sessionsCut(before: string, after: string): string[] {
  const options = fixedOptions(before);
  return [...fixedOptions(after)].flatMap(([name, text]) => {
    const old = options.get(name);
    return old === undefined || old === text ? [] : [name];
  });
}

function fixedOptions(config: string): Map<string, string> {
  return new Map(
    [...config.matchAll(OPTIONS)].map(([, name = '', text = '', channel = '']) => [
      name,
      text + (channel.match(FIXED) ?? []).join(),
    ]),
  );
}

/** Returns the configuration without its sessions. */
export function withoutSessions(text: string): string {
  return text.replaceAll(PROTOCOL, '');
}
