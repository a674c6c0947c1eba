/**
 * Writes ONNX models. It knows only as much of the protobuf wire format as graphs of simple operators need. No other file writes models.
 *
 * Field numbers are those of `onnx.proto` (ONNX 1.16, IR version 10).
 */

/** Element types in our graphs. `int64` (shapes, axes, indices) and `float64` are used only inside a graph. */
export type OnnxType = 'float32' | 'int32' | 'bool' | 'int64' | 'float64';
export type HostArray = Float32Array | Int32Array | Uint8Array | BigInt64Array;
export type Attribute = number | string | readonly number[] | { readonly float: number } | { readonly graph: OnnxGraph };

export interface OnnxNode {
  /** The name of the node in the messages of ONNX Runtime. */
  name?: string;
  op: string;
  domain: string;
  inputs: string[];
  outputs: string[];
  attributes: Readonly<Record<string, Attribute>>;
}
export interface OnnxValue {
  name: string;
  dtype: OnnxType;
  shape: readonly number[];
}
export interface OnnxGraph {
  nodes: OnnxNode[];
  inputs: OnnxValue[];
  outputs: OnnxValue[];
  initializers: (OnnxValue & { data: HostArray })[];
}

const OPSET = 20;
/** Codes of `TensorProto.DataType`. */
export const elementType: Record<OnnxType, number> = { float32: 1, int32: 6, int64: 7, bool: 9, float64: 11 };

/** Builds one protobuf message. */
class Message {
  private bytes = new Uint8Array(256);
  private length = 0;

  private reserve(count: number): void {
    if (this.length + count <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(this.bytes.length * 2, this.length + count));
    grown.set(this.bytes.subarray(0, this.length));
    this.bytes = grown;
  }

  /** Writes an integer in base 128. Negative numbers take ten bytes, as the 64-bit two's complement. */
  private varint(value: number): void {
    this.reserve(10);
    if (value < 0) {
      let rest = BigInt.asUintN(64, BigInt(value));
      while (rest > 0x7fn) {
        this.bytes[this.length++] = Number(rest & 0x7fn) | 0x80;
        rest >>= 7n;
      }
      this.bytes[this.length++] = Number(rest);
      return;
    }
    while (value > 0x7f) {
      this.bytes[this.length++] = (value % 128) | 0x80;
      value = Math.floor(value / 128);
    }
    this.bytes[this.length++] = value;
  }

  int(field: number, value: number): this {
    this.varint(field * 8);
    this.varint(value);
    return this;
  }

  float(field: number, value: number): this {
    this.varint(field * 8 + 5);
    this.reserve(4);
    new DataView(this.bytes.buffer).setFloat32(this.length, value, true);
    this.length += 4;
    return this;
  }

  raw(field: number, value: Uint8Array): this {
    this.varint(field * 8 + 2);
    this.varint(value.length);
    this.reserve(value.length);
    this.bytes.set(value, this.length);
    this.length += value.length;
    return this;
  }

  text(field: number, value: string): this {
    return this.raw(field, encoder.encode(value));
  }

  message(field: number, value: Message): this {
    return this.raw(field, value.finish());
  }

  finish(): Uint8Array {
    return this.bytes.subarray(0, this.length);
  }
}

const encoder = new TextEncoder();

/** Which program made a model, and further properties of the model. */
export interface ModelInfo {
  producer: string;
  version: string;
  properties: Readonly<Record<string, string>>;
}

/** The bytes of an `.onnx` file. */
export function encodeModel(graph: OnnxGraph, name: string, info?: ModelInfo): Uint8Array {
  const out = new Message().int(1, 10).text(2, info?.producer ?? 'atelier');
  if (info !== undefined) out.text(3, info.version);
  out
    .message(7, encodeGraph(graph, name))
    .message(8, new Message().text(1, '').int(2, OPSET))
    .message(8, new Message().text(1, 'com.microsoft').int(2, 1));
  for (const [key, value] of Object.entries(info?.properties ?? {})) out.message(14, new Message().text(1, key).text(2, value));
  return out.finish();
}

function encodeGraph(graph: OnnxGraph, name: string): Message {
  const out = new Message();
  for (const node of graph.nodes) out.message(1, encodeNode(node));
  out.text(2, name);
  for (const initializer of graph.initializers) out.message(5, encodeTensor(initializer));
  for (const input of graph.inputs) out.message(11, encodeValueInfo(input));
  for (const output of graph.outputs) out.message(12, encodeValueInfo(output));
  return out;
}

function encodeNode(node: OnnxNode): Message {
  const out = new Message();
  for (const input of node.inputs) out.text(1, input);
  for (const output of node.outputs) out.text(2, output);
  if (node.name !== undefined) out.text(3, node.name);
  out.text(4, node.op);
  for (const [name, value] of Object.entries(node.attributes)) out.message(5, encodeAttribute(name, value));
  if (node.domain !== '') out.text(7, node.domain);
  return out;
}

function encodeAttribute(name: string, value: Attribute): Message {
  const out = new Message().text(1, name);
  if (typeof value === 'number') return out.int(3, value).int(20, 2);
  if (typeof value === 'string') return out.text(4, value).int(20, 3);
  if ('float' in value) return out.float(2, value.float).int(20, 1);
  if ('graph' in value) return out.message(6, encodeGraph(value.graph, name)).int(20, 5);
  for (const item of value) out.int(8, item);
  return out.int(20, 7);
}

function encodeTensor({ name, dtype, shape, data }: OnnxValue & { data: HostArray }): Message {
  const out = new Message();
  for (const size of shape) out.int(1, size);
  return out
    .int(2, elementType[dtype])
    .text(8, name)
    .raw(9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
}

function encodeValueInfo({ name, dtype, shape }: OnnxValue): Message {
  const dims = new Message();
  for (const size of shape) dims.message(1, new Message().int(1, size));
  const tensor = new Message().int(1, elementType[dtype]).message(2, dims);
  return new Message().text(1, name).message(2, new Message().message(1, tensor));
}
