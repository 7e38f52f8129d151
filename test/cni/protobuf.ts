/**
 * The part of Protocol Buffers 3 that a container runtime's messages need. A schema gives the number and type
 * of each field; the types of messages are derived from it.
 */
export type Schema = { readonly [field: string]: Field };
type Scalar = 'string' | 'bytes' | 'number' | 'boolean';
type Field = readonly [number: number, type: Scalar | Schema, repeated?: 'repeated'];

type Scalars = { string: string; bytes: Buffer; number: number; boolean: boolean };

/** A message to encode; an omitted field has its default value. */
export type Message<S extends Schema> = {
  readonly [K in keyof S]?: S[K] extends readonly [number, infer T, 'repeated']
    ? readonly Part<T>[]
    : Part<S[K][1]>;
};
type Part<T> = T extends Scalar ? Scalars[T] : T extends Schema ? Message<T> : never;

/** A decoded message; scalar and repeated fields are always present. */
export type Decoded<S extends Schema> = {
  readonly [K in keyof S]: S[K] extends readonly [number, infer T, 'repeated']
    ? readonly DecodedPart<T>[]
    : S[K][1] extends Scalar
      ? Scalars[S[K][1]]
      : DecodedPart<S[K][1]> | undefined;
};
type DecodedPart<T> = T extends Scalar ? Scalars[T] : T extends Schema ? Decoded<T> : never;

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

const DEFAULTS: Scalars = { string: '', bytes: Buffer.alloc(0), number: 0, boolean: false };

export function encode<S extends Schema>(schema: S, message: Message<S>): Buffer {
  return encodeFields(schema, message);
}

function encodeFields(schema: Schema, message: Readonly<Record<string, unknown>>): Buffer {
  const parts = Object.entries(schema).flatMap(([name, [number, type]]) => {
    const value = message[name];
    if (value === undefined) return [];
    return (Array.isArray(value) ? value : [value]).map((each: unknown) => encodeField(number, type, each));
  });
  return Buffer.concat(parts);
}

function encodeField(number: number, type: Scalar | Schema, value: unknown): Buffer {
  if (typeof value === 'number' || typeof value === 'boolean') {
    return Buffer.concat([varint(number * 8 + VARINT), varint(Number(value))]);
  }
  const bytes = typeof type === 'object' ? encodeFields(type, Object(value)) : Buffer.from(value as string);
  return Buffer.concat([varint(number * 8 + BYTES), varint(bytes.length), bytes]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (; value >= 128; value = Math.floor(value / 128)) bytes.push((value % 128) + 128);
  return Buffer.from([...bytes, value]);
}

/** Decodes a message; fields missing from the schema are skipped. */
export function decode<S extends Schema>(schema: S, bytes: Buffer): Decoded<S> {
  return decodeFields(schema, bytes) as Decoded<S>;
}

function decodeFields(schema: Schema, bytes: Buffer): Record<string, unknown> {
  const fields = Object.entries(schema);
  const message: Record<string, unknown> = Object.fromEntries(
    fields.map(([name, [, type, repeated]]) => [
      name,
      repeated ? [] : typeof type === 'string' ? DEFAULTS[type] : undefined,
    ]),
  );
  for (const { number, value } of readFields(bytes)) {
    const [name, field] = fields.find(([, [candidate]]) => candidate === number) ?? [];
    if (!name || !field) continue;
    const [, type, repeated] = field;
    const part = decodePart(type, value);
    message[name] = repeated ? [...(message[name] as unknown[]), part] : part;
  }
  return message;
}

function decodePart(type: Scalar | Schema, value: number | Buffer): unknown {
  if (typeof value === 'number') return type === 'boolean' ? value !== 0 : value;
  if (typeof type === 'object') return decodeFields(type, value);
  return type === 'string' ? value.toString() : value;
}

function* readFields(bytes: Buffer): Generator<{ number: number; value: number | Buffer }> {
  let at = 0;
  const next = (): number => {
    for (let value = 0, factor = 1; ; factor *= 128) {
      const byte = bytes.readUInt8(at++);
      value += (byte % 128) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = next();
    const number = Math.floor(tag / 8);
    const wire = tag % 8;
    if (wire === VARINT) {
      yield { number, value: next() };
      continue;
    }
    if (![FIXED64, BYTES, FIXED32].includes(wire)) throw new RangeError(`wire type ${wire} at byte ${at}`);
    const length = wire === BYTES ? next() : wire === FIXED64 ? 8 : 4;
    yield { number, value: bytes.subarray(at, at + length) };
    at += length;
  }
}
