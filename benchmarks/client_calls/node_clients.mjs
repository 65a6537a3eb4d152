// Clients in JavaScript: `node calls.mjs CLIENT CALL...` prints a line per call, `CALL<tab>ok` or why not.
const { OPENAI_BASE_URL: url, OPENAI_API_KEY: key, INGOT_MODEL: model, INGOT_LOAD: load } = process.env;
const wrong = 'sk-wrong-' + 'x'.repeat(43);
const messages = [{ role: 'user', content: 'Hello' }];
const ask = { model, messages, max_tokens: 8 };
// Refused before it is read: clients must see that soon.
const large = [{ role: 'user', content: 'x'.repeat(300000) }];

const have = value => (value && (value.length === undefined || value.length) ? 'ok' : 'an empty answer');

async function raises(kind, call) {
    const began = Date.now();
    try {
        await call();
    } catch (error) {
        if (!(error instanceof kind)) {
            return `raised ${error.constructor.name} instead of ${kind.name}: ${error.message}`;
        }
        return Date.now() - began < 10000 ? 'ok' : `raised ${kind.name} late`;
    }
    return `raised nothing instead of ${kind.name}`;
}

async function all(stream) {
    const pieces = [];
    for await (const piece of stream) {
        pieces.push(piece);
    }
    return pieces;
}

async function loaded(one) {
    let left = Number(load);
    const failed = [];
    await Promise.all(Array.from({ length: 16 }, async () => {
        while (left-- > 0) {
            try {
                await one();
            } catch (error) {
                failed.push(`${error.constructor.name}: ${error.message}`);
            }
        }
    }));
    return failed.length ? `${failed.length} of ${load} failed, ${failed[0]}` : 'ok';
}

const clients = {
    'openai-node': async () => {
        const { default: OpenAI } = await import('openai');
        const client = new OpenAI(), refused = new OpenAI({ apiKey: wrong });
        return {
            models: async () => have((await client.models.retrieve(model)).id === model && (await client.models.list()).data),
            chat: async () => have((await client.chat.completions.create(ask)).choices[0].message.content),
            stream: async () => have(await all(await client.chat.completions.create({ ...ask, stream: true }))),
            responses: async () => have((await client.responses.create({ model, input: 'Hello', max_output_tokens: 8 })).id),
            wrong_key: () => raises(OpenAI.AuthenticationError, () => refused.models.list()),
            refused_body: () => raises(OpenAI.AuthenticationError, () => refused.chat.completions.create({ model, messages: large })),
            load: () => loaded(() => client.models.list()),
        };
    },
    'anthropic-node': async () => {
        const { default: Anthropic } = await import('@anthropic-ai/sdk');
        const baseURL = url.replace(/\/v1$/, '');
        const client = new Anthropic({ baseURL, apiKey: key }), refused = new Anthropic({ baseURL, apiKey: wrong });
        return {
            chat: async () => have((await client.beta.messages.create(ask)).content),
            stream: async () => have(await all(client.messages.stream(ask))),
            wrong_key: () => raises(Anthropic.AuthenticationError, () => refused.messages.create(ask)),
        };
    },
    undici: async () => {
        const { Agent, RetryAgent, request } = await import('undici');
        // HTTP/2 is taken where it is offered; a reload closes idle connections, so that a client must retry.
        const agent = new RetryAgent(new Agent({ allowH2: true }), { methods: ['GET', 'POST'], statusCodes: [429, 503], maxRetries: 3, minTimeout: 20 });
        const call = (path, body, token = key) => request(url + path, {
            dispatcher: agent,
            method: body ? 'POST' : 'GET',
            headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
            body: body ? JSON.stringify(body) : undefined,
        });
        return {
            models: async () => have((await (await call('/models')).body.json()).data),
            chat: async () => have((await (await call('/chat/completions', ask)).body.json()).choices),
            stream: async () => have((await (await call('/chat/completions', { ...ask, stream: true })).body.text()).trim().endsWith('[DONE]')),
            refused_body: async () => {
                const { statusCode, body } = await call('/chat/completions', { model, messages: large }, wrong);
                await body.text();
                return statusCode === 401 ? 'ok' : `answered ${statusCode}`;
            },
            load: () => loaded(async () => {
                const { statusCode, body } = await call('/models');
                await body.text();
                if (statusCode !== 200) {
                    throw new Error(`answered ${statusCode}`);
                }
            }),
        };
    },
    'vercel-ai': async () => {
        const { generateText, streamText } = await import('ai');
        const { createOpenAICompatible } = await import('@ai-sdk/openai-compatible');
        const made = createOpenAICompatible({ name: 'ingot', baseURL: url, apiKey: key })(model);
        return {
            chat: async () => have((await generateText({ model: made, prompt: 'Hello', maxOutputTokens: 8 })).text),
            stream: async () => have(await all(streamText({ model: made, prompt: 'Hello', maxOutputTokens: 8 }).textStream)),
        };
    },
};

const [name, ...calls] = process.argv.slice(2);
const client = await clients[name]();
for (const call of calls) {
    let said;
    try {
        said = await client[call]();
    } catch (error) {
        said = `${error.constructor.name}: ${error.message}`;
    }
    console.log(`${call}\t${said.replace(/\s+/g, ' ').slice(0, 250)}`);
}
process.exit(0);
