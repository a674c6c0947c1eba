import { everywhere, gsJacobiSampler } from '@atelier/gs-jacobi';
import { initTarFlow, sequentialSampler, tarflowConfig, tokenSizes } from '@atelier/tarflow';
import { Rng, tf, useEngine } from '@atelier/tensor';

// A small TarFlow with random weights: token by token, and in parallel with a proof that every token is right.
await useEngine();
const settings = { imageSize: 8, patchSize: 2, width: 16, headSize: 8, blocks: 2, layers: 1, numClasses: 2 };
const { T, D } = tokenSizes(tarflowConfig.parse(settings));
const rng = new Rng('new user');
const model = initTarFlow(rng.child('init'), settings);
const [noise, y] = [rng.child('noise').normal([2, T, D]), tf.tensor1d([0, 1], 'int32')];
const exact = sequentialSampler(settings).sample(model, noise, { y }).images;
const { images } = gsJacobiSampler(settings).sample(model, noise, { strategy: everywhere(2, { method: 'exact', window: 8 }), y });
const difference: tf.Tensor = tf.max(tf.abs(tf.sub(images, exact)));
console.log(difference.dataSync()[0]! < 1e-4 ? 'right' : 'wrong');
