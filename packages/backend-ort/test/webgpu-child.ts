/** Runs a few operations and one training step on a device, and prints the values as JSON. */
import { registerOrt } from '../src/register.ts';
import { tf } from '../src/tf.ts';
import type { Device } from '../src/runtime.ts';
import { numbers } from './agree.ts';

const device = process.argv[2] as Device;
registerOrt({ device });
await tf.setBackend('ort');
const x = tf.tensor2d(numbers(32, 1), [4, 8]);
const w = tf.tensor2d(numbers(64, 2), [8, 8]);
const attention = tf.matMul(tf.softmax(tf.matMul(tf.matMul(x, w), x, false, true)), x);
const norm = tf.div(tf.sub(x, tf.mean(x, 1, true)), tf.sqrt(tf.add(tf.mean(tf.square(x), 1, true), 1e-3)));
const gradient = tf.grad((v) => tf.mean(tf.square(tf.tanh(tf.matMul(x, v)))))(w);
const stepped = tf.sub(w, tf.mul(gradient, 0.1));
const conv = tf.conv2d(tf.tensor4d(numbers(32, 1), [1, 4, 8, 1]), tf.tensor4d(numbers(18, 3), [3, 3, 1, 2]), 1, 'same');
console.log(JSON.stringify([attention, norm, stepped, conv].map((y) => Array.from(y.dataSync()))));
