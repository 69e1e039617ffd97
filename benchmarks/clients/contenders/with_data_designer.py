"""NeMo Data Designer: a seed column of personas and one structured LLM column, resumed where it can be.

It asks for the schema in the prompt, not in the request. The meter runs around `create`, with its health check and
profile of the result.
"""

import data_designer.config as dd
import pandas as pd
from data_designer.interface import DataDesigner
from task import INSTRUCTIONS, MODEL, ROW, TEMPERATURE, TIMEOUT_S, Instruction, persona, run


def config_of(chosen):
    sampling = dd.ChatCompletionInferenceParams(
        temperature=TEMPERATURE,
        max_tokens=chosen.max_tokens,
        max_parallel_requests=chosen.window,
        timeout=TIMEOUT_S,
    )
    model = dd.ModelConfig(alias="writer", model=MODEL, provider="mock", inference_parameters=sampling)
    numbers = range(1, chosen.rows + 1)
    seed = pd.DataFrame({"number": numbers, "persona": [persona(number) for number in numbers]})
    config = dd.DataDesignerConfigBuilder(model_configs=[model])
    config.with_seed_dataset(dd.DataFrameSeedSource(df=seed), sampling_strategy=dd.SamplingStrategy.ORDERED)
    config.add_column(
        dd.LLMStructuredColumnConfig(
            name="answer", model_alias="writer", system_prompt=INSTRUCTIONS, prompt=ROW, output_format=Instruction
        )
    )
    return config


def generate(chosen, tally, meter):
    provider = dd.ModelProvider(name="mock", endpoint=f"{chosen.url}/v1", provider_type="openai", api_key="none")
    designer = DataDesigner(artifact_path=chosen.home / "artifacts", model_providers=[provider])
    # Its metrics endpoint would listen on a fixed port.
    designer.set_run_config(dd.RunConfig(otel_metrics_port=None))
    config = config_of(chosen)
    meter.start()
    results = designer.create(config, num_records=chosen.rows, dataset_name="rows", resume=dd.ResumeMode.IF_POSSIBLE)
    meter.stop()
    for row in results.load_dataset().to_dict("records"):
        tally.keep(row["number"], row["answer"])


if __name__ == "__main__":
    run(generate, __doc__, ["data-designer"])
