import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';

const run = promisify(execFile);
const child = fileURLToPath(new URL('webgpu-child.ts', import.meta.url));

/** SwiftShader, a Vulkan in software that comes with Debian's chromium; `VK_ICD_FILENAMES` names another driver. */
const driver = [process.env.VK_ICD_FILENAMES, '/usr/lib/chromium/vk_swiftshader_icd.json'].find(
  (file) => file !== undefined && existsSync(file),
);

async function valuesOn(device: string, driverFile = ''): Promise<number[][]> {
  const libraries = [dirname(driverFile), process.env.LD_LIBRARY_PATH].filter(Boolean).join(':');
  const env = driverFile === '' ? process.env : { ...process.env, VK_ICD_FILENAMES: driverFile, LD_LIBRARY_PATH: libraries };
  const { stdout } = await run(process.execPath, ['--import', 'tsx', child, device], { env });
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as number[][];
}

describe('the webgpu device', () => {
  it.skipIf(driver === undefined)(
    'gives what the cpu gives (skipped where no Vulkan driver is found: install chromium or set VK_ICD_FILENAMES)',
    async () => {
      const [cpu, gpu] = [await valuesOn('cpu'), await valuesOn('webgpu', driver)];
      expect(gpu).toHaveLength(cpu.length);
      cpu.forEach((list, i) => list.forEach((value, at) => expect(Math.abs(gpu[i]![at]! - value)).toBeLessThan(1e-5)));
    },
  );

  it('says in a sentence that it cannot start where there is no such device', async () => {
    await expect(run(process.execPath, ['--import', 'tsx', child, 'cuda'])).rejects.toThrow(
      /ort: device 'cuda' needs .* is not installed; ONNXRUNTIME_NODE_INSTALL=cuda12 npm rebuild/,
    );
  });
});
