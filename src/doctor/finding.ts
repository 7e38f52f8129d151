/** One line of the doctor's. `wrong`: something is. `note`: good to know, or could not be checked. */
export type Finding = {
  readonly section: Section;
  readonly state: 'ok' | 'note' | 'wrong';
  readonly what: string;
  readonly cause?: string;
  readonly fix?: string;
};

export type Section =
  | 'agent'
  | 'store'
  | 'kernel'
  | 'sysctl'
  | 'ports'
  | 'firewall'
  | 'policy'
  | 'mtu'
  | 'cni'
  | 'peers';

export type Reasons = { readonly cause?: string | undefined; readonly fix?: string | undefined };

export function ok(section: Section, what: string): Finding {
  return { section, state: 'ok', what };
}

export function note(section: Section, what: string, reasons: Reasons = {}): Finding {
  return { section, state: 'note', what, ...given(reasons) };
}

export function wrong(section: Section, what: string, reasons: Reasons = {}): Finding {
  return { section, state: 'wrong', what, ...given(reasons) };
}

function given({ cause, fix }: Reasons): Pick<Finding, 'cause' | 'fix'> {
  return { ...(cause !== undefined && { cause }), ...(fix !== undefined && { fix }) };
}
