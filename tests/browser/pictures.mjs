// Pictures of every page, to be looked at by a person: `node pictures.mjs DIRECTORY`. In Japanese and English, at 390 and 1100
// pixels, light and dark. Not a test: nothing is compared.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { World, code } from './world.mjs';

const WORDS = {
  en: { create: 'Create a passkey', kept: 'I have kept them', instead: 'Use a password instead', app: 'Add a code app', go: 'Continue with the password', recovery: 'Use a recovery code instead', setUp: /Set up (a|another) code app/, out: 'Sign out', next: 'Continue' },
  ja: { create: 'パスキーを作成', kept: '保管しました', instead: '代わりにパスワードを使う', app: '認証アプリを追加する', go: 'パスワードで続ける', recovery: '代わりに回復コードを使う', setUp: /認証アプリ(を設定|に変更)/, out: 'サインアウト', next: '続ける' },
};
const directory = process.argv[2];
if (!directory) throw new Error('say where to: node pictures.mjs DIRECTORY');
fs.mkdirSync(directory, { recursive: true });

async function take(world, language) {
  const words = WORDS[language];
  const link = (name, ...more) => /https:\S+/.exec(world.masugata('user', 'add', `${name}-${language}`, '--group', 'employees', ...more))[0];
  const person = await world.browser(language, { language });
  const { page, context } = person;
  const { session, authenticatorId } = await person.authenticator();
  const touch = (enabled) => session.send('WebAuthn.setAutomaticPresenceSimulation', { authenticatorId, enabled });
  const shot = async (name, of = page) => {
    for (const width of [390, 1100]) {
      await of.setViewportSize({ width, height: 800 });
      for (const colorScheme of ['light', 'dark']) {
        await of.emulateMedia({ colorScheme });
        const overflows = await of.evaluate(() => document.documentElement.scrollWidth > innerWidth);
        if (overflows) console.log(`${name} ${language} ${width}: wider than the screen`);
        await of.screenshot({ path: path.join(directory, `${name}-${language}-${width}-${colorScheme}.png`), fullPage: true });
      }
    }
    await of.setViewportSize({ width: 1100, height: 800 });
  };
  const { apps, sign_in_url: home } = world.facts;
  const press = (name) => page.getByRole('button', { name, exact: true }).first().click();
  const ready = () => page.getByRole('heading', { level: 1 }).waitFor();

  const first = link('hanako', '--name', language === 'ja' ? '山田 花子' : 'Hanako Yamada', '--email', 'hanako@corp.example');
  await touch(false);
  await page.goto(apps.projects.url);
  await ready();
  await shot('sign-in');
  await page.getByRole('link', { name: /recovery code|回復コード/ }).click();
  await shot('recovery-by-name');
  await page.goto(first);
  await page.getByRole('button', { name: words.create }).waitFor();
  await page.getByText(words.instead).click();
  await page.getByText(words.app).click();
  await shot('welcome');
  await touch(true);
  await press(words.create);
  await page.getByRole('button', { name: words.kept }).waitFor();
  await shot('recovery-codes');
  await press(words.kept);
  await ready();
  await shot('ready');
  await page.goto(home);
  await page.waitForURL((now) => now.href === home);
  await shot('my-page');
  await page.goto(new URL('/id/factors', home).href);
  await page.locator('#recovery').waitFor();
  await shot('factors');
  await page.goto(apps.payroll.url);
  await ready();
  await shot('denied');
  await page.goto(new URL('/callback/accounts?state=x&code=y', home).href);
  await shot('sign-in-over');
  await page.goto(new URL('/start?to=https://elsewhere.example/', home).href);
  await shot('link-leads-nowhere');
  await page.goto(home);
  await page.goto(apps.projects.url);
  const waiting = await context.newPage();
  await waiting.goto(apps.projects.url);
  await page.goto(home);
  await page.getByRole('button', { name: words.out, exact: true }).click();
  await ready();
  await shot('signed-out');
  await waiting.evaluate(() => {
    const form = Object.assign(document.createElement('form'), { method: 'post', action: '/send' });
    form.append(Object.assign(document.createElement('textarea'), { name: 'text', value: '一行目\nsecond line' }));
    document.body.append(form);
    form.submit();
  });
  await waiting.locator('#sign-in').waitFor();
  await shot('kept-form', waiting);
  await waiting.goto(new URL('/.masugata/signed-in', apps.projects.url).href);
  await shot('signed-in-elsewhere', waiting);
  await waiting.close();

  // With a password and a code.
  await touch(false);
  const user = world.facts.users[language === 'ja' ? 'chie' : 'ben'];
  await page.goto(apps.projects.url);
  await page.locator('#name').fill(user.user);
  await page.locator('#password').fill('not the password at all');
  await press(words.go);
  await page.getByRole('alert').waitFor();
  await shot('wrong-password');
  await page.locator('#name').fill(user.user);
  await page.locator('#password').fill(user.password);
  await press(words.go);
  await page.locator('#code').waitFor();
  await shot('code');
  await page.getByRole('link', { name: words.recovery }).click();
  await page.locator('#code').waitFor();
  await shot('recovery-after-password');
  await page.goBack();
  await page.locator('#code').fill(code(user.totp_secret));
  await press(words.next);
  await page.waitForURL((now) => now.href === apps.projects.url);
  await page.goto(new URL('/id/factors', home).href);
  await page.getByRole('button', { name: words.setUp }).click();
  await page.locator('.qr').waitFor();
  await shot('code-app');
  world.masugata('user', 'disable', user.user);
  await page.goto(apps.projects.url);
  await page.locator('#name').fill(user.user);
  await page.locator('#password').fill(user.password);
  await press(words.go);
  await ready();
  await shot('account-disabled');
  await page.goto(first);
  await page.getByRole('alert').waitFor();
  await shot('used-link');
  await person.close();
}

const world = await World.start();
try {
  for (const language of ['en', 'ja']) await take(world, language);
} finally {
  await world.end();
}
