// node shoot.mjs CHROMIUM PAGE SHOTS: takes pictures of the page with Chromium. SHOTS is JSON: [{board, path, width, height}],
// height null for all of it. Ends with 1 when the page reports an error.
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';

const [program, page_, shots] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: program,
  // As root, Chromium has no sandbox. It shows one page, from the disk.
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--allow-file-access-from-files'],
});
const faults = [];
try {
  for (const { board, path, width, height } of JSON.parse(shots)) {
    const context = await browser.newContext({ viewport: { width, height: height ?? 1000 } });
    const page = await context.newPage();
    page.on('pageerror', (error) => faults.push(error.stack));
    page.on('console', (message) => { if (message.type() === 'error' && !/ERR_FAILED/.test(message.text())) faults.push(message.text()); });
    // Icons and fonts are files of Grafana's server. Debian's fonts-inter has the same font.
    await page.route(/\.svg$/, (route) => route.fulfill({ contentType: 'image/svg+xml', body: '<svg xmlns="http://www.w3.org/2000/svg"/>' }));
    await page.route(/\.woff2$/, (route) => route.abort());
    await page.goto(`${pathToFileURL(page_)}#${board}`);
    await page.waitForFunction('window.drawn === true', null, { timeout: 20000 });
    if (height === null) {
      // Tables draw the rows that are in sight, so all of the page has to be.
      await page.setViewportSize({ width, height: await page.evaluate('document.documentElement.scrollHeight') });
      await page.waitForTimeout(2000);
    }
    await page.screenshot({ path });
    await context.close();
  }
} catch (error) {
  faults.push(error.stack);
} finally {
  await browser.close();
}
for (const fault of new Set(faults)) console.error(fault.slice(0, 2000));
process.exit(faults.length ? 1 : 0);
