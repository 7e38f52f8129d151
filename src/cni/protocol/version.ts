/** All versions of the CNI specification, oldest first. We support all of them. */
export const VERSIONS = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;
export type Version = (typeof VERSIONS)[number];

/** The version used internally; others are converted on input and output. */
export const CURRENT: Version = '1.1.0';

export function isVersion(text: string): text is Version {
  return (VERSIONS as readonly string[]).includes(text);
}

export function atLeast(version: Version, minimum: Version): boolean {
  return VERSIONS.indexOf(version) >= VERSIONS.indexOf(minimum);
}

/**
 * Picks the newest known version, as a runtime does from a list's `cniVersion` and `cniVersions`. Undefined
 * when none is known.
 */
export function newest(offered: readonly string[]): Version | undefined {
  return VERSIONS.findLast((version) => offered.includes(version));
}
