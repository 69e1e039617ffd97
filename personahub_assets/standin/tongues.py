"""Sentences of answers in other languages than English, without digits and commas."""


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())


TONGUES = {
    "German": _lines("""
        Am Anfang lohnt sich ein ruhiger Blick auf das was schon vorhanden ist
        Danach schreibt man die offenen Fragen auf und ordnet sie nach ihrer Dringlichkeit
        Ein kleiner Versuch am Rand zeigt meist schneller wo die Schwierigkeit liegt
        Wer die Ergebnisse aufhebt kann sie im nächsten Jahr wieder benutzen
        Die Nachbarn haben oft dieselbe Sorge und freuen sich über ein Gespräch
        Zum Schluss sollte jemand prüfen ob die Rechnung auch wirklich aufgeht
        """),
    "French": _lines("""
        Il vaut mieux regarder d'abord ce que vous avez déjà dans la maison
        Ensuite vous pouvez noter les questions ouvertes et les classer par urgence
        Un petit essai montre souvent plus vite où se trouve la difficulté
        Gardez les résultats dans un cahier afin de les retrouver l'année prochaine
        Vos voisins ont peut-être le même souci et seront heureux d'en parler
        Pour finir quelqu'un devrait vérifier que le calcul est bien juste
        """),
    "Spanish": _lines("""
        Primero conviene mirar con calma lo que ya tienes en casa
        Después puedes apuntar las preguntas abiertas y ordenarlas según su urgencia
        Una pequeña prueba suele mostrar enseguida dónde está la dificultad
        Guarda los resultados en un cuaderno para encontrarlos el año que viene
        Tus vecinos tienen quizá la misma preocupación y les gustará hablar de ella
        Al final alguien debería comprobar que la cuenta sale bien
        """),
    "Italian": _lines("""
        Prima di tutto conviene guardare con calma quello che avete già in casa
        Poi si possono scrivere le domande aperte e metterle in ordine di urgenza
        Una piccola prova mostra spesso più in fretta dove si trova la difficoltà
        Conservate i risultati in un quaderno per ritrovarli l'anno prossimo
        I vostri vicini hanno forse la stessa preoccupazione e ne parleranno volentieri
        Alla fine qualcuno dovrebbe controllare che il conto sia giusto
        """),
    "Portuguese": _lines("""
        Em primeiro lugar vale a pena olhar com calma para o que já existe em casa
        Depois você pode anotar as perguntas em aberto e ordená-las pela urgência
        Uma pequena experiência costuma mostrar mais depressa onde está a dificuldade
        Guarde os resultados num caderno para que não se percam até o próximo ano
        Os seus vizinhos talvez tenham a mesma preocupação e vão gostar de conversar
        No fim alguém deveria verificar se a conta está mesmo certa
        """),
    "Dutch": _lines("""
        Het is verstandig om eerst rustig te kijken naar wat er al in huis is
        Daarna schrijf je de open vragen op en zet je ze in volgorde van haast
        Een kleine proef laat meestal sneller zien waar de moeilijkheid zit
        Bewaar de uitkomsten in een schrift zodat je ze volgend jaar weer kunt gebruiken
        Je buren hebben misschien dezelfde zorg en praten er graag over
        Tot slot zou iemand moeten nagaan of de berekening echt klopt
        """),
    "Polish": _lines("""
        Na początku warto spokojnie przyjrzeć się temu co już masz w domu
        Potem możesz zapisać otwarte pytania i ułożyć je według pilności
        Mała próba zwykle szybciej pokazuje gdzie leży trudność
        Zachowaj wyniki w zeszycie żeby móc do nich wrócić w przyszłym roku
        Twoi sąsiedzi mają być może ten sam kłopot i chętnie o nim porozmawiają
        Na koniec ktoś powinien sprawdzić czy rachunek naprawdę się zgadza
        """),
    "Russian": _lines("""
        Сначала стоит спокойно посмотреть на то что уже есть в доме
        Потом можно записать открытые вопросы и расставить их по срочности
        Небольшой опыт обычно быстрее показывает где находится трудность
        Храните результаты в тетради чтобы вернуться к ним в следующем году
        У ваших соседей может быть та же забота и они охотно о ней поговорят
        В конце кто-то должен проверить что расчёт действительно верен
        """),
}
