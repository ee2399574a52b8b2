import { defineConfig } from 'vitest/config';

const minuteMs = 60_000;

/**
 * `unit` sits beside the code and finishes in seconds; `integration` starts real databases and tools; `kill` ends processes at each
 * marked instant; `acceptance` drives a real server with the clients that users have. Two files at a time: the machines that
 * this is developed and judged on have two cores, and the real tools below the tests want them too.
 */
export default defineConfig({
  test: {
    globalSetup: ['test/support/global-setup.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 20_000,
    hookTimeout: minuteMs,
    teardownTimeout: 20_000,
    allowOnly: false,
    passWithNoTests: true,
    projects: [
      { extends: true, test: { name: 'unit', include: ['src/**/*.test.ts', 'test/*.test.ts'] } },
      { extends: true, test: { name: 'integration', include: ['test/integration/**/*.test.ts'], testTimeout: minuteMs } },
      {
        extends: true,
        test: { name: 'kill', include: ['test/kill/**/*.test.ts'], testTimeout: 10 * minuteMs, hookTimeout: 5 * minuteMs },
      },
      {
        extends: true,
        test: { name: 'acceptance', include: ['test/acceptance/**/*.test.ts'], testTimeout: 10 * minuteMs, hookTimeout: 5 * minuteMs },
      },
    ],
  },
});
