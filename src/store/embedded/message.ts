import { malformed, unsupported } from './errors.ts';

/** The fields of a request in protobuf's JSON mapping; a wrong type is an error with code 3. */
export class Message {
  readonly #fields: Record<string, unknown>;

  constructor(value: unknown) {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw malformed('not a JSON object');
    this.#fields = value as Record<string, unknown>;
  }

  bytes(name: string): Buffer {
    const value = this.#fields[name] ?? '';
    if (typeof value !== 'string' || !/^[A-Za-z0-9+/]*={0,2}$/.test(value))
      throw malformed(`${name}: not base64`);
    return Buffer.from(value, 'base64');
  }

  /** An int64 as a decimal string. */
  int(name: string): string {
    const value = this.#fields[name] ?? 0;
    if (typeof value !== 'string' && typeof value !== 'number') throw malformed(`${name}: not a number`);
    if (!/^-?[0-9]{1,19}$/.test(String(value))) throw malformed(`${name}: not a number`);
    return String(BigInt(value));
  }

  number(name: string): number {
    return Number(this.int(name));
  }

  flag(name: string): boolean {
    return this.#fields[name] === true;
  }

  text(name: string): string | undefined {
    const value = this.#fields[name];
    return typeof value === 'string' ? value : undefined;
  }

  child(name: string): Message | undefined {
    const value = this.#fields[name] ?? undefined;
    return value === undefined ? undefined : new Message(value);
  }

  children(name: string): Message[] {
    const value = this.#fields[name] ?? [];
    if (!Array.isArray(value)) throw malformed(`${name}: not a list`);
    return value.map((child) => new Message(child));
  }

  /** Rejects fields that etcd supports and this server would silently ignore. */
  refuse(...names: readonly string[]): void {
    const name = names.find((candidate) => this.#fields[candidate]);
    if (name !== undefined) throw unsupported(name);
  }
}
