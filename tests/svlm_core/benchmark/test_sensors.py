# SPDX-License-Identifier: Apache-2.0
"""What a machine tells of itself, and that a benchmark goes on where it keeps things to itself."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from svlm_core.benchmark import energy, sensors
from svlm_core.benchmark.energy import Source, Summed, counting, energy_source, idle_watts
from svlm_core.benchmark.machine import describe, untold
from svlm_core.benchmark.sensors import state

CPU, GPU = torch.device('cpu'), torch.device('cuda:0')


@pytest.fixture(autouse=True)
def sysfs(tmp_path, monkeypatch) -> Path:
    """An empty folder in the place of the kernel's files."""
    for module, name in ((energy, 'HWMON'), (energy, 'POWERCAP'), (sensors, 'DEVFREQ'),
                         (sensors, 'THERMAL')):  # fmt: skip
        monkeypatch.setattr(module, name, tmp_path / name.lower())
    monkeypatch.setattr(energy, 'IDLE', 0.01)
    monkeypatch.setattr(sensors, 'CPUINFO', tmp_path / 'cpuinfo')
    return tmp_path


def files(folder: Path, **content: object) -> None:
    folder.mkdir(parents=True)
    for name, held in content.items():
        (folder / name).write_text(f'{held}\n')


class NvmlError(Exception):
    pass


class Library(ModuleType):
    """pynvml of a GPU that answers these queries, and refuses all others."""

    NVMLError = NvmlError
    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    def __init__(self, **answers: object) -> None:
        super().__init__('pynvml')
        self.answers = answers

    def __getattr__(self, query: str):
        if not query.startswith('nvml'):
            raise AttributeError(query)

        def ask(*given):
            if query not in self.answers:
                raise NvmlError('Not Supported')
            answer = self.answers[query]
            return answer(*given) if callable(answer) else answer

        return ask


@pytest.fixture
def gpu(monkeypatch):
    """Let this machine have a GPU, of which NVML tells what is given."""
    about = SimpleNamespace(name='Thing', major=9, minor=0, total_memory=2**30, uuid='12-34')
    monkeypatch.setattr(torch.cuda, 'get_device_properties', lambda device: about)

    def tells(**answers: object) -> None:
        found = {'nvmlInit': None, 'nvmlDeviceGetHandleByUUID': lambda uuid: uuid, **answers}
        monkeypatch.setitem(sys.modules, 'pynvml', Library(**found))

    return tells


def test_a_gpu_that_tells_all_is_read_in_full(gpu):
    gpu(
        nvmlSystemGetDriverVersion='580.1',
        nvmlDeviceGetPowerManagementLimit=700_000,
        nvmlDeviceGetClockInfo=lambda handle, kind: {1: 1980, 2: 3201}[kind],
        nvmlDeviceGetTemperature=41,
        nvmlDeviceGetTotalEnergyConsumption=5_000,
    )
    about = describe(GPU)
    assert about['state_before'] == {'sm_mhz': 1980, 'memory_mhz': 3201, 'celsius': 41}
    assert (about['driver'], about['power_limit_watts'], about['nvml']) == ('580.1', 700, 'there')
    assert (about['energy'], about['idle_watts']) == ('GPU, by NVML', 0)
    assert untold({**about, 'cuda': '13', 'cudnn': 9}) == ''  # this torch may be without them
    with counting(energy_source(GPU)) as joules:
        assert joules() == 5


def test_a_gpu_that_tells_nothing_ends_no_benchmark(gpu):
    gpu()
    about = describe(GPU)
    assert about['gpu'] == 'Thing'
    assert untold(about).endswith(
        'driver, power_limit_watts, energy, idle_watts, sm_mhz, memory_mhz, celsius'
    )
    assert state(GPU) == {'sm_mhz': None, 'memory_mhz': None, 'celsius': None}
    with counting(energy_source(GPU)) as joules:
        assert joules() is None


def test_a_slice_of_a_gpu_is_found_by_its_own_name(gpu):
    def by_name(uuid: str) -> str:
        if uuid != 'MIG-12-34':
            raise NvmlError('Not Found')
        return uuid

    gpu(nvmlDeviceGetHandleByUUID=by_name, nvmlDeviceGetTemperature=40)
    assert state(GPU)['celsius'] == 40


@pytest.mark.parametrize('missing', ['the package', 'the library', 'this GPU'])
def test_what_keeps_nvml_away_is_said(gpu, missing, monkeypatch):
    def refuse(*given):
        raise NvmlError(f'{missing} is missing')

    gpu(**{'nvmlInit' if missing == 'the library' else 'nvmlDeviceGetHandleByUUID': refuse})
    if missing == 'the package':
        monkeypatch.setitem(sys.modules, 'pynvml', None)
    reason = 'pip install nvidia-ml-py' if missing == 'the package' else f'NVML: {missing} is miss'
    assert f'celsius ({reason}' in untold(describe(GPU))


def test_on_a_jetson_the_kernel_tells_clock_temperature_and_power(gpu, sysfs):
    gpu()
    files(sysfs / 'devfreq' / '17000000.gpu', cur_freq=1_300_500_000)
    files(sysfs / 'devfreq' / '15340000.vic', cur_freq=729_600_000)
    files(sysfs / 'thermal' / 'thermal_zone0', type='cpu-thermal', temp=61_000)
    files(sysfs / 'thermal' / 'thermal_zone1', type='gpu-thermal', temp=55_500)
    files(sysfs / 'thermal' / 'thermal_zone2', type='gpu-off', temp='')
    assert state(GPU) == {'sm_mhz': 1300.5, 'memory_mhz': None, 'celsius': 55.5}
    assert state(CPU)['celsius'] == 61

    chip = {
        'in1_label': 'VDD_GPU_SOC', 'in1_input': 20_000, 'curr1_input': 500,  # 10 W
        'in2_label': 'VDD_CPU_CV', 'in2_input': 20_000, 'curr2_input': 100,  # 2 W
        'in3_label': 'VIN_SYS_5V0', 'in3_input': 5_000, 'curr3_input': 600,  # 3 W
        'in4_input': 9, 'in7_label': 'sum of shunt voltages', 'in7_input': 9,
    }  # fmt: skip
    files(sysfs / 'hwmon' / 'hwmon1', name='ina3221', **chip)
    files(sysfs / 'hwmon' / 'hwmon2', name='ina3221', in1_label='NC', in1_input=1, curr1_input=1,
          in2_label='VDDQ_VDD2_1V8AO', in2_input=5_000, curr2_input=200)  # fmt: skip
    files(sysfs / 'hwmon' / 'hwmon0', name='nvme', in1_label='VIN', in1_input=9, curr1_input=9)
    source = energy_source(GPU)
    assert source is not None
    assert source.name == 'rails VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0'
    assert source.read() == pytest.approx(15)
    assert energy_source(CPU).name == source.name


def test_a_rail_that_feeds_all_others_is_counted_alone(sysfs):
    files(sysfs / 'hwmon' / 'hwmon3', name='ina238', in1_label='VDD_IN', power1_input=9_500_000,
          in2_label='VDD_SOC', in2_input=5_000, curr2_input=200)  # fmt: skip
    source = energy_source(CPU)
    assert source is not None
    assert (source.name, source.read()) == ('rails VDD_IN', pytest.approx(9.5))
    (sysfs / 'hwmon' / 'hwmon3' / 'power1_input').write_text('')
    assert source.read() is None


def test_power_is_summed_over_time_and_even_between_two_readings():
    watts, now = iter([10.0, 10.0, 30.0, None, 10.0]), iter([0.0, 2.0, 4.0, 5.0, 6.0])
    summed = Summed(lambda: next(watts), lambda: next(now))
    assert [summed.joules() for _ in range(5)] == [0, 20, 60, None, None]


def test_power_is_read_by_a_thread_as_long_as_it_is_counted(monkeypatch):
    monkeypatch.setattr(energy, 'PERIOD', 0.001)
    readings = []
    often = threading.Event()

    def watts() -> float:
        readings.append(threading.current_thread())
        if len(readings) > 5:
            often.set()
        return 5.0

    with counting(Source('rails', watts, watts=True)) as joules:
        assert often.wait(10)
        assert joules() > 0
    (reader,) = set(readings) - {threading.current_thread()}
    assert not reader.is_alive()


def test_the_counters_of_a_processor_turn_over(sysfs):
    package = sysfs / 'powercap' / 'intel-rapl:0'
    files(package, energy_uj=2_500_000, max_energy_range_uj=10_000_000)
    files(sysfs / 'powercap' / 'intel-rapl:0:0', energy_uj=1)  # a part of it
    source = energy_source(CPU)
    assert source is not None
    assert source.name == 'processor, by RAPL'
    assert source.read() == 0
    (package / 'energy_uj').write_text('9500000\n')
    assert source.read() == 7
    (package / 'energy_uj').write_text('500000\n')
    assert source.read() == 8
    (package / 'energy_uj').unlink()
    assert source.read() is None


def test_a_machine_without_any_sensor_says_so():
    about = describe(CPU)
    assert about['mhz'] == []
    assert untold(about) == 'not told by this machine: mhz, energy, idle_watts, celsius'


def test_idleness_is_measured_too(monkeypatch):
    slept = []
    clock = SimpleNamespace(monotonic=iter([10.0, 12.5, 20.0, 21.0]).__next__, sleep=slept.append)
    monkeypatch.setattr(energy, 'time', clock)
    assert idle_watts(Source('a counter', iter([100.0, 350.0]).__next__)) == 100
    assert slept == [energy.IDLE]
    assert idle_watts(Source('one that ends', iter([100.0, None]).__next__)) is None
    assert idle_watts(None) is None
