/** Every version of the CNI specification there is, oldest first. We speak all of them. */
export const VERSIONS = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;
export type Version = (typeof VERSIONS)[number];

/** The shape we work in; other shapes are converted on the way in and out. */
export const CURRENT: Version = '1.1.0';

export function isVersion(text: string): text is Version {
  return (VERSIONS as readonly string[]).includes(text);
}

export function atLeast(version: Version, minimum: Version): boolean {
  return VERSIONS.indexOf(version) >= VERSIONS.indexOf(minimum);
}

/**
 * What a runtime does with a list's `cniVersion` and `cniVersions`: the newest it knows. Undefined when it
 * knows none.
 */
export function newest(offered: readonly string[]): Version | undefined {
  return VERSIONS.findLast((version) => offered.includes(version));
}
