/** Registers: r0 holds results, r1 to r5 arguments, r6 to r9 survive calls, r10 is the end of the stack. */
export type Register = `r${0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10}`;
export type Operand = Register | number;
/** Bits of a load or store. */
export type Width = 8 | 16 | 32 | 64;

/** Instruction classes, and the bit that says that the operand is a register (RFC 9669 §3). */
const LDX = 0x61;
const STX = 0x63;
const ST = 0x62;
const ALU64 = 0x07;
const JMP32 = 0x06;
const JMP = 0x05;
const FROM_REGISTER = 0x08;
const WIDTHS: Record<Width, number> = { 8: 0x10, 16: 0x08, 32: 0x00, 64: 0x18 };
const OPERATIONS = { '+': 0x00, '-': 0x10, '|': 0x40, '&': 0x50, '<<': 0x60, '>>': 0x70, '^': 0xa0 } as const;
const MOVE = 0xb0;
const SWAP = 0xdc;
/** Unsigned comparisons; `&`: a common bit. */
const CONDITIONS = {
  '==': 0x10,
  '>': 0x20,
  '>=': 0x30,
  '&': 0x40,
  '!=': 0x50,
  '<': 0xa0,
  '<=': 0xb0,
} as const;
const ALWAYS = 0x00;
const CALL = 0x85;
const EXIT = 0x95;
const LOAD_64 = 0x18;
/** src_reg of a 64-bit load: the number is the descriptor of a map. */
const MAP_FD = 1;
const INSTRUCTION = 8;

type Instruction = {
  readonly code: number;
  readonly to?: Register;
  readonly from?: Register | typeof MAP_FD;
  readonly offset?: number | string;
  readonly value?: number;
};

/**
 * Writes a program for the kernel's virtual machine (RFC 9669), one instruction per call. Jumps go forward to
 * labels.
 */
export class Assembler {
  readonly #instructions: Instruction[] = [];
  readonly #labels = new Map<string, number>();

  /** `to = operand`. */
  move(to: Register, operand: Operand): this {
    return this.#operate(ALU64 | MOVE, to, operand);
  }

  /** `to = to ⋄ operand`, 64 bits. */
  compute(to: Register, operation: keyof typeof OPERATIONS, operand: Operand): this {
    return this.#operate(ALU64 | OPERATIONS[operation], to, operand);
  }

  /** Turns the lowest 16 or 32 bits from or into network byte order, and clears the others. */
  swap(to: Register, bits: 16 | 32): this {
    return this.#add({ code: SWAP, to, value: bits });
  }

  /** `to = memory[from + offset]`. */
  load(to: Register, from: Register, offset: number, width: Width): this {
    return this.#add({ code: LDX | WIDTHS[width], to, from, offset });
  }

  /** `memory[to + offset] = operand`. */
  store(to: Register, offset: number, operand: Operand, width: Width): this {
    if (typeof operand === 'number')
      return this.#add({ code: ST | WIDTHS[width], to, offset, value: operand });
    return this.#add({ code: STX | WIDTHS[width], to, from: operand, offset });
  }

  /** Continues at the label if the comparison of 32 bits holds. */
  jumpIf(left: Register, condition: keyof typeof CONDITIONS, right: Operand, label: string): this {
    return this.#operate(JMP32 | CONDITIONS[condition], left, right, label);
  }

  /** The same for pointers, which have 64 bits. */
  jumpIfPointer(left: Register, condition: keyof typeof CONDITIONS, right: Operand, label: string): this {
    return this.#operate(JMP | CONDITIONS[condition], left, right, label);
  }

  jump(label: string): this {
    return this.#add({ code: JMP | ALWAYS, offset: label });
  }

  label(name: string): this {
    this.#labels.set(name, this.#instructions.length);
    return this;
  }

  /** A helper of the kernel (linux/bpf.h). Arguments are in r1 to r5, which are lost; r0 is its result. */
  call(helper: number): this {
    return this.#add({ code: CALL, value: helper });
  }

  /** `to` = a map. */
  map(to: Register, { fd }: { readonly fd: number }): this {
    return this.#add({ code: LOAD_64, to, from: MAP_FD, value: fd }).#add({ code: 0 });
  }

  /** Ends the program with the result in r0. */
  exit(): this {
    return this.#add({ code: EXIT });
  }

  /** The program, eight bytes an instruction. */
  assemble(): Buffer {
    const program = Buffer.alloc(INSTRUCTION * this.#instructions.length);
    for (const [i, { code, to, from, offset = 0, value = 0 }] of this.#instructions.entries()) {
      const at = INSTRUCTION * i;
      program[at] = code;
      program[at + 1] = (from === MAP_FD ? MAP_FD : numberOf(from)) * 16 + numberOf(to);
      program.writeInt16LE(typeof offset === 'number' ? offset : this.#distance(i, offset), at + 2);
      program.writeInt32LE(value | 0, at + 4);
    }
    return program;
  }

  #distance(from: number, label: string): number {
    const target = this.#labels.get(label);
    if (target === undefined) throw new Error(`no label ${label}`);
    return target - from - 1;
  }

  #operate(code: number, to: Register, operand: Operand, label?: string): this {
    const offset = label === undefined ? {} : { offset: label };
    if (typeof operand === 'number') return this.#add({ code, to, value: operand, ...offset });
    return this.#add({ code: code | FROM_REGISTER, to, from: operand, ...offset });
  }

  #add(instruction: Instruction): this {
    this.#instructions.push(instruction);
    return this;
  }
}

function numberOf(register: Register | undefined): number {
  return register === undefined ? 0 : Number(register.slice(1));
}
