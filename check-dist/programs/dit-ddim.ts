import { ddimSampler, diffusionTables, linearBetas, respace } from '@atelier/diffusion';
import { applyDiT, initDiT, type DiTParams } from '@atelier/nn';
import { Rng, tf, useEngine, type Tensor } from '@atelier/tensor';
import { readSafetensors, writeSafetensors } from '@atelier/tensor/node';

// A small DiT with random weights draws by DDIM in four steps, and its samples go to a file and back.
await useEngine('ort', { threads: 1 });
const config = { inChannels: 1, patchSize: 2, width: 16, depth: 1, heads: 2, numClasses: 3 };
const [rng, shape] = [new Rng('new user'), [2, 8, 8, 1]];
const context = { params: initDiT(rng.child('init'), config), y: tf.zeros([2], 'int32') };
type Context = { params: DiTParams; y: Tensor };
const sampler = ddimSampler((x, t, { params, y }: Context) => applyDiT(params, x, { t, y }, config), { variance: 'small' });
const images = sampler.sample(context, rng.child('start').normal(shape), { tables: respace(diffusionTables(linearBetas(1000)), 4) });
const data = (await images.data()) as Float32Array;
await writeSafetensors('images.safetensors', { images: { dtype: 'float32', shape, data } });
const back = (await readSafetensors('images.safetensors')).tensors['images']!;
console.log(data.every((value, i) => Number.isFinite(value) && value === back.data[i]) ? 'right' : 'wrong');
